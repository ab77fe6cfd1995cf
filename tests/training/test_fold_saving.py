"""Saving and stopping between steps, by one rank; several are in test_cross_validation.py and in the chaos tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import checkpoint_directory
from pneumo.training.checkpoint import Snapshot
from pneumo.training.checkpoint_writer import CheckpointWriter
from pneumo.training.fold_saving import FoldSaving
from pneumo.training.loop_state import LoopState
from pneumo.training.run_directory import FoldDirectory
from pneumo.training.save_clock import SaveClock


class Asked(StopFlag):
    """A request to stop without a signal."""

    def __init__(self) -> None:
        self.signal_name = ""


class Fold:
    """A fold at some step, whose clock a test sets."""

    def __init__(self, root: Path, world: World) -> None:
        (root / "recipe.json").touch()
        self.directory = FoldDirectory(root / "fold-0")
        self.step, self.minutes, self.error = 0, 0.0, ""
        self.stop = Asked()
        self.writer = CheckpointWriter(self.directory, torch.device("cpu"))
        self.saving = FoldSaving(
            lambda: f"fold 0 at step {self.step}",
            self._snapshot,
            writer=self.writer,
            clock=SaveClock(5, lambda: 60 * self.minutes),
            group=world,
            stop=self.stop,
        )

    def _snapshot(self) -> Snapshot:
        if self.error:
            raise UserError(self.error, "finite ones", "lower the rate")
        return Snapshot(LoopState(step=self.step), {"model": {"w": torch.ones(2)}}, {})

    def saved(self) -> int | None:
        """Return the step of the newest checkpoint, once none is being written."""
        self.writer.wait()
        found = checkpoint_directory.published(self.directory.checkpoints)
        return int(found[-1].name.split("-")[1]) if found else None


@pytest.fixture
def fold(tmp_path: Path, world: World) -> Iterator[Fold]:
    fold = Fold(tmp_path, world)
    with fold.writer:
        yield fold


def test_between_steps_it_saves_when_the_clock_says_so(fold: Fold) -> None:
    fold.step, fold.minutes = 3, 4.9
    fold.saving.save_or_stop(within_epoch=True)
    assert fold.saved() is None
    fold.step, fold.minutes = 4, 5.0
    fold.saving.save_or_stop(within_epoch=True)
    assert fold.saved() == 4


def test_behind_the_last_step_of_an_epoch_the_clock_does_not_save(fold: Fold) -> None:
    fold.step, fold.minutes = 3, 60.0
    fold.saving.save_or_stop(within_epoch=False)
    assert fold.saved() is None


@pytest.mark.parametrize("within_epoch", [True, False])
def test_a_request_saves_and_then_stops(fold: Fold, within_epoch: bool) -> None:
    fold.step, fold.stop.signal_name = 7, "SIGTERM"
    with pytest.raises(StopRequested, match=r"fold 0 at step 7.*SIGTERM"):
        fold.saving.save_or_stop(within_epoch=within_epoch)
    assert fold.saved() == 7


def test_in_a_validation_a_request_stops_with_what_was_saved_before_it(fold: Fold) -> None:
    fold.step = 8
    fold.saving.save()
    fold.saving.stop_if_asked()
    fold.stop.signal_name, fold.step = "SIGUSR1", 9
    with pytest.raises(StopRequested, match="SIGUSR1"):
        fold.saving.stop_if_asked()
    assert fold.saved() == 8


def test_a_state_that_is_refused_leaves_the_checkpoint_before_it(fold: Fold) -> None:
    fold.step = 2
    fold.saving.save()
    fold.step, fold.error, fold.stop.signal_name = 3, "a loss of nan", "SIGTERM"
    with pytest.raises(UserError, match="a loss of nan"):
        fold.saving.save_or_stop(within_epoch=True)
    assert fold.saved() == 2
