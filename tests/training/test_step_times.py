"""The speed of steps, on a clock that the test moves."""

from dataclasses import dataclass

import pytest
import torch

from pneumo.distributed.collectives import Group
from pneumo.training import step_times
from pneumo.training.step_times import StepTimes

ALONE = Group(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, of which the first is now."""
    now = [100.0]
    monkeypatch.setattr(step_times.time, "monotonic", lambda: now[0])
    return now


def step(times: StepTimes, clock: list[float], *, waits_s: float, works_s: float) -> None:
    with times.waiting_for_data():
        clock[0] += waits_s
    clock[0] += works_s
    times.add_step()


def test_speed_and_wait_of_the_last_steps_and_of_the_epoch(clock: list[float]) -> None:
    times = StepTimes(ALONE, batch_size=8)
    step(times, clock, waits_s=1.5, works_s=0.5)
    assert times.since_last() == {"images_per_s": 4.0, "step_s": 2.0, "train_s": 2.0, "data_wait": 0.75}
    step(times, clock, waits_s=0.0, works_s=1.0)
    step(times, clock, waits_s=0.0, works_s=3.0)
    assert times.since_last() == {"images_per_s": 4.0, "step_s": 2.0, "train_s": 4.0, "data_wait": 0.0}
    assert times.epoch() == {"images_per_s": 4.0, "step_s": 2.0, "train_s": 6.0, "data_wait": 0.25}


def test_an_epoch_begins_anew_and_one_without_steps_has_no_speed(clock: list[float]) -> None:
    times = StepTimes(ALONE, batch_size=8)
    step(times, clock, waits_s=1.0, works_s=1.0)
    times.begin_epoch()
    clock[0] += 5
    assert times.epoch() == times.since_last() == {}
    step(times, clock, waits_s=0.0, works_s=3.0)
    assert times.epoch() == {"images_per_s": 1.0, "step_s": 8.0, "train_s": 8.0, "data_wait": 0.0}


def test_the_wait_is_that_of_the_rank_that_waited_longest(clock: list[float]) -> None:
    @dataclass(frozen=True)
    class WithAnother(Group):
        def largest(self, value: float) -> float:
            return max(value, 0.9)

    times = StepTimes(WithAnother(rank=0, size=2, device=torch.device("cpu")), batch_size=8)
    step(times, clock, waits_s=1.0, works_s=1.0)
    assert times.epoch()["data_wait"] == 0.9
