"""Comparisons for tests."""

from collections.abc import Sequence
from pathlib import Path

from pneumo.training.comparison_inputs import ComparisonInputs
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.variants import Variant


def compared(*recipes: Recipe, seeds: Sequence[int] = (0,)) -> ComparisonInputs:
    """Return the inputs of a comparison of recipes, as the variants v0, v1 and so on."""
    return ComparisonInputs(
        variants=[
            Variant(name=f"v{n}", flags="", recipe=recipe, where=f"variant v{n}") for n, recipe in enumerate(recipes)
        ],
        seeds=seeds,
        dataset=Path("data"),
        out=Path("out"),
        folds=(0, 1),
        options=LoopOptions(checkpoint_minutes=1.0, workers=1),
        skip_damaged=False,
    )
