"""The time that a comparison still takes."""

import logging
from dataclasses import replace

import pytest
from comparisons import compared

from pneumo.training.comparison_progress import ComparisonProgress, work_of
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.recipes import debug


def test_a_step_takes_as_long_as_what_it_sees_of_an_image() -> None:
    whole = replace(debug(), epochs=(4, 2), image_size=(128,))
    assert work_of(replace(whole, crop_size=(64,))) == work_of(whole) / 4
    assert work_of(replace(whole, crop_size=(64, 128))) == work_of(whole) * (4 / 4 + 2) / 6
    # A batch has 4 labeled images.
    assert work_of(replace(whole, consistency=ConsistencyConfig(images=6))) == work_of(whole) * 2.5


def test_the_time_left_is_that_of_the_epochs_and_pixels_still_to_be_trained(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    long = replace(debug(), epochs=(2, 3), image_size=(64, 128))
    progress = ComparisonProgress(compared(debug(), replace(debug(), tta=()), long, seeds=(0, 1)), [True, *[False] * 5])
    progress.log(1)
    progress.add(debug(), 60.0)
    # Of networks that were there already.
    progress.add(debug(), 0.0)
    progress.log(4)
    first, second = caplog.messages
    assert first == "run 2 of 6: variant v0 (1 of 3), seed 1"
    # Two runs of 2 + 4 * 3 times as much.
    assert second == "run 5 of 6: variant v2 (3 of 3), seed 0; about 28:00 left, by the runs so far"
