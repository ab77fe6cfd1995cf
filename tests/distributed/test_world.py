"""What rank 0 logs about the world."""

import dataclasses
import logging

import pytest

from pneumo.distributed.world import World, log_idle_ranks, log_world
from pneumo.runtime.console import log


def test_rank_0_logs_which_ranks_train_which_folds(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, logger="pneumo")
    log_world(dataclasses.replace(world, size=3), (0, 1), 4, "fp32")
    log_world(dataclasses.replace(world, size=3, rank=1), (0, 1), 4, "fp32")
    (line,) = caplog.messages
    assert line.startswith("3 rank(s) on cpu in fp32, ")
    assert line.endswith("; ranks 0-1: fold 0; rank 2: fold 1")


def test_rank_0_warns_of_ranks_that_cannot_train(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    log_idle_ranks(dataclasses.replace(world, size=20), 5, 4)
    log_idle_ranks(dataclasses.replace(world, size=32, rank=1), 5, 4)
    assert not caplog.messages
    log_idle_ranks(dataclasses.replace(world, size=32), 5, 4)
    (line,) = caplog.messages
    assert line.startswith("20 of 32 ranks train: 5 fold(s), each shared by at most 4 rank(s)")
    assert "the other 12 wait" in line
