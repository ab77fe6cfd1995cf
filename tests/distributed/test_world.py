"""What rank 0 logs about the world."""

import dataclasses
import logging

import pytest

from pneumo.distributed.partition import fold_groups
from pneumo.distributed.world import World, log_idle_ranks, log_world
from pneumo.runtime.console import log


def test_rank_0_logs_which_ranks_train_which_folds(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, logger="pneumo")
    groups = fold_groups(3, (0, 1), 4)
    log_world(dataclasses.replace(world, size=3), groups, "fp32")
    log_world(dataclasses.replace(world, size=3, rank=1), groups, "fp32")
    (line,) = caplog.messages
    assert line.startswith("3 ranks on cpu in fp32, ")
    assert line.endswith("; ranks 0-1: fold 0; rank 2: fold 1")


@pytest.mark.parametrize(
    ("ranks", "folds", "expected"),
    [
        (
            32,
            5,
            "20 of 32 ranks train: the other 12 would not shorten the training of 5 folds ",
        ),
        (3, 1, "2 of 3 ranks train: the other 1 would not shorten the training of 1 fold "),
        (20, 5, ""),
        (3, 5, ""),
    ],
)
def test_rank_0_warns_of_ranks_that_shorten_nothing(
    ranks: int,
    folds: int,
    expected: str,
    world: World,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    log_idle_ranks(dataclasses.replace(world, size=ranks, rank=1), folds, 4)
    assert not caplog.messages
    log_idle_ranks(dataclasses.replace(world, size=ranks), folds, 4)
    assert len(caplog.messages) == bool(expected)
    assert "".join(caplog.messages).startswith(expected)
    if expected:
        assert f" with 4 micro-batches in a step, which uses at most {folds * 4} ranks; they wait" in caplog.text
