from collections.abc import Callable
from dataclasses import replace

import pytest
from build_data import OPTIONS

from pneumo.dataset.limits import Limits
from pneumo.runtime import config
from pneumo.runtime.errors import UserError


@pytest.mark.parametrize(
    "change",
    [{"num_folds": 1}, {"num_folds": 128}, {"workers": 0}, {"task": "3/3"}, {"task": "-1/2"}, {"seed": -1}],
    ids=str,
)
def test_options_are_checked(change: dict) -> None:
    with pytest.raises(UserError, match=config.flag(next(iter(change)))):
        replace(OPTIONS, **change)


@pytest.mark.parametrize(("task", "mine"), [("0/1", [0, 1, 2, 3, 4]), ("1/2", [1, 3]), ("7/9", [])])
def test_a_task_writes_every_nth_shard(task: str, mine: list[int]) -> None:
    assert list(range(5))[replace(OPTIONS, task=task).shards] == mine


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(OPTIONS, max_quarantined=-1), "--max-quarantined -1; expected 0 to 100"),
        (lambda: replace(OPTIONS, max_quarantined=101), "--max-quarantined 101; expected 0 to 100"),
        (lambda: replace(OPTIONS, max_quarantined=float("nan")), "--max-quarantined nan; expected a finite number"),
        (lambda: Limits(time_limit=0), "--time-limit 0; expected 0.1 to 86400"),
        (lambda: Limits(memory_limit=-1), "--memory-limit -1; expected 0.01 to 1024"),
    ],
    ids=["negative percentage", "percentage above 100", "no number", "no time", "negative memory"],
)
def test_limits_are_checked(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
