"""The time left of a stage is that of the epochs before, whatever was done before a resume."""

import pytest

from pneumo.training import stage_clock
from pneumo.training.recipe import Stage
from pneumo.training.stage_clock import StageClock

STAGE = Stage(index=1, epochs=12, image_size=64, positive_rate=None, learning_rate=1e-3)


def test_the_mean_of_the_epochs_is_that_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 1060.0, 1240.0, 1300.0])
    monkeypatch.setattr(stage_clock.time, "monotonic", lambda: next(clock))
    started = StageClock(STAGE, first=4)
    # A minute for the first; two minutes each for both; 7 and 6 epochs are left, and none after the last.
    assert started.describe_left(4) == "7:00 left of stage 2"
    assert started.describe_left(5) == "12:00 left of stage 2"
    assert started.describe_left(11) == ""
