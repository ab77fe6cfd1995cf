from dataclasses import replace
from pathlib import Path

import numpy as np
from finished_runs import finish_folds, tiny_recipe
from training_runs import training

from pneumo.distributed.world import World
from pneumo.training import run_directory
from pneumo.training.fold_results import read_histograms
from pneumo.training.recipes import best, debug
from pneumo.training.shared_training import WITHOUT_EFFECT, has_same_training, predict_again


def test_recipes_of_the_same_training_differ_in_what_predicts_alone() -> None:
    recipe = debug()
    for changed in (replace(recipe, tta=()), replace(recipe, min_component=9.0), replace(recipe, name="other")):
        assert changed != recipe
        assert has_same_training(recipe, changed)
        assert has_same_training(changed, recipe)
    for changed in (replace(recipe, seed=1), replace(recipe, epochs=(2,)), replace(recipe, precision="bf16"), best()):
        assert not has_same_training(recipe, changed)
    # What is added here must have no part in training: test_job_compare.py has runs of both kinds side by side.
    assert WITHOUT_EFFECT == ("name", "tta", "min_component")


def test_the_networks_of_another_run_are_scored_on_masks_without_small_components(
    dataset: Path, world: World, tmp_path: Path
) -> None:
    source = finish_folds(tmp_path / "source", dataset, world)
    predict_again(training(replace(tiny_recipe(), min_component=9_000.0), dataset, tmp_path / "run"), source, world)
    before, after = (read_histograms(run_directory.load(tmp_path / name)) for name in ("source", "run"))
    assert (before.min_component, after.min_component) == (0, 9_000)
    assert np.array_equal(before.predicted, after.predicted)
    assert (after.masked <= before.masked).all()
    assert (after.masked < before.masked).any()
