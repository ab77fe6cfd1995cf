"""From a recipe and a dataset to a run: recipes, the loop, checkpoints, the run directory."""
