"""What tests/job/test_job_compare.py, which runs comparisons through the command, does not show."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pneumo.training.comparison import ComparisonInputs, _Progress
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug
from pneumo.training.variants import Variant


def inputs(*recipes: Recipe, seeds: Sequence[int] = (0,)) -> ComparisonInputs:
    return ComparisonInputs(
        variants=[Variant(name=f"v{n}", flags="", recipe=recipe, where="") for n, recipe in enumerate(recipes)],
        seeds=seeds,
        dataset=Path("data"),
        out=Path("out"),
        folds=(0, 1),
        options=LoopOptions(checkpoint_minutes=1.0, workers=1),
        skip_damaged=False,
    )


def test_the_networks_are_those_of_the_first_variant_of_the_same_training_and_the_same_seed() -> None:
    found = inputs(
        debug(), replace(debug(), epochs=(2,)), replace(debug(), tta=()), replace(debug(), min_component=9.0)
    )
    first, other, without_tta, small = found.variants
    assert found.source(first, 3) is None
    assert found.source(other, 3) is None
    for variant in (without_tta, small):
        source = found.source(variant, 3)
        assert source is not None
        assert (source.run, source.recipe.seed) == (Path("out/runs/v0-seed-3"), 3)


def test_the_time_left_is_that_of_the_epochs_and_pixels_still_to_be_trained(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    long = replace(debug(), epochs=(2, 3), image_size=(64, 128))
    progress = _Progress(inputs(debug(), replace(debug(), tta=()), long, seeds=(0, 1)), [True, *[False] * 5])
    progress.log(1)
    progress.add(debug(), 60.0)
    # Of networks that were there already.
    progress.add(debug(), 0.0)
    progress.log(4)
    first, second = caplog.messages
    assert first == "run 2 of 6: variant v0 (1 of 3), seed 1"
    # Two runs of 2 + 4 * 3 times as much.
    assert second == "run 5 of 6: variant v2 (3 of 3), seed 0; about 28:00 left, by the runs so far"
