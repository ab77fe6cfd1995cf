"""What rank 0 logs about the world."""

import dataclasses
import logging

import pytest

from pneumo.distributed.partition import plan_waves, plan_waves_on_gpus
from pneumo.distributed.world import World, log_idle_ranks, log_world
from pneumo.runtime.console import log


def test_rank_0_logs_which_ranks_train_which_folds(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, logger="pneumo")
    plan = plan_waves(4, range(5), 4)
    log_world(dataclasses.replace(world, size=4), plan, "fp32")
    log_world(dataclasses.replace(world, size=4, rank=1), plan, "fp32")
    line, units = caplog.messages
    assert line.startswith("4 ranks on cpu in fp32, ")
    assert line.endswith("; rank 0: fold 0; rank 1: fold 1; rank 2: fold 2; rank 3: fold 3; then ranks 0-3: fold 4")
    assert (
        units == "5 folds with 4 micro-batches in a step take 1.25 times one fold on one rank, at an efficiency of 100%"
    )
    log_world(dataclasses.replace(world, size=3), plan_waves(3, range(5), 4), "fp32")
    assert caplog.messages[-1].endswith(
        " take 2 times one fold on one rank, at an efficiency of 83%: they do not divide evenly among 3 ranks"
    )
    log_world(dataclasses.replace(world, size=3), plan_waves(3, (), 4), "fp32")
    assert caplog.messages[-1].endswith("; nothing is left to train of the folds asked for")


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
    plan = plan_waves(ranks, range(folds), 4)
    log_idle_ranks(dataclasses.replace(world, size=ranks, rank=1), plan)
    assert not caplog.messages
    log_idle_ranks(dataclasses.replace(world, size=ranks), plan)
    assert len(caplog.messages) == bool(expected)
    assert "".join(caplog.messages).startswith(expected)
    if expected:
        assert f" with 4 micro-batches in a step, which uses at most {folds * 4} ranks; they wait" in caplog.text


def test_rank_0_warns_of_ranks_that_only_share_a_gpu(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    log_idle_ranks(dataclasses.replace(world, size=2), plan_waves_on_gpus("aa", (0,), 4))
    (warning,) = caplog.messages
    assert warning.startswith("1 of 2 ranks train: the other 1 would not shorten the training of 1 fold ")
    assert warning.endswith("ranks that share a GPU cannot train a fold together: start one process for each GPU")
