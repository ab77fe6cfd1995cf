"""When a checkpoint is due by time."""

import pytest

from pneumo.training.save_clock import SaveClock


def test_a_checkpoint_is_due_once_in_each_interval() -> None:
    times = iter((100.0, 100.0, 219.0, 220.0, 220.0, 221.0, 339.0, 341.0, 341.0))
    clock = SaveClock(2, lambda: next(times))
    # The first time is the clock's beginning; those twice are of a checkpoint that begins the next interval.
    assert [clock.take_due() for _ in range(6)] == [False, False, True, False, False, True]


def test_a_save_at_another_time_begins_an_interval() -> None:
    now = 0.0
    clock = SaveClock(1, lambda: now)
    now = 59.0
    clock.restart()
    now = 118.0
    assert not clock.take_due()
    now = 119.0
    assert clock.take_due()


@pytest.mark.parametrize("now", [0.0, 1e9])
def test_none_is_due_without_an_interval(now: float) -> None:
    times = iter((0.0, now))
    assert not SaveClock(0, lambda: next(times)).take_due()
