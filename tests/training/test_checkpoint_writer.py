"""Checkpoints written in a thread: one at a time, of the moment when they were begun, with errors that surface."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import checkpoint
from pneumo.training.checkpoint import Snapshot
from pneumo.training.checkpoint_writer import CheckpointWriter
from pneumo.training.loop_state import LoopState
from pneumo.training.run_directory import FoldDirectory


@pytest.fixture
def directory(tmp_path: Path) -> FoldDirectory:
    """A fold of a run, as far as the writer looks at it."""
    (tmp_path / "recipe.json").touch()
    return FoldDirectory(tmp_path / "fold-0")


@pytest.fixture
def writer(directory: FoldDirectory) -> CheckpointWriter:
    return CheckpointWriter(directory, torch.device("cpu"))


class Gate:
    """Lets ``checkpoint.save`` run when it is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        save = checkpoint.save

        def wait_and_save(*arguments: object) -> Path:
            self.reached.set()
            assert self.open.wait(60)
            return save(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(checkpoint, "save", wait_and_save)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def snapshot(step: int, value: float = 0.0) -> Snapshot:
    return Snapshot(LoopState(step=step), {"model": {"w": torch.full((3,), value)}}, {"moments": [torch.ones(2)]})


def test_what_training_changes_meanwhile_is_not_saved(
    directory: FoldDirectory, writer: CheckpointWriter, gate: Gate
) -> None:
    live = snapshot(1, 5.0)
    with writer:
        writer.begin(live)
        assert gate.reached.wait(60)
        assert writer.is_busy
        writer.check()
        live.weights["model"]["w"].fill_(float("nan"))
        live.state.step = 2
        live.state.history.append({"epoch": 1})
        gate.open.set()
        writer.wait()
        assert not writer.is_busy
    path = checkpoint.latest(directory.checkpoints)
    assert path is not None
    assert path.name == "step-00000001-epoch-0000"
    assert torch.equal(checkpoint.load(path).weights["model"]["w"], torch.full((3,), 5.0))
    assert checkpoint.load(path).state == LoopState(step=1)


def test_the_second_of_two_saves_waits_for_the_first(directory: FoldDirectory, writer: CheckpointWriter) -> None:
    with writer:
        writer.begin(snapshot(1, 1.0))
        writer.begin(snapshot(2, 2.0))
    first, second = sorted(directory.checkpoints.iterdir())
    assert [checkpoint.verify(path) for path in (first, second)] == ["", ""]
    loaded = [float(checkpoint.load(path).weights["model"]["w"][0]) for path in (first, second)]
    assert loaded == [1.0, 2.0]


def test_memory_is_reserved_only_while_nothing_is_written(writer: CheckpointWriter, gate: Gate) -> None:
    with writer:
        writer.reserve(snapshot(1))
        writer.wait()
        taken = writer._memory.bytes
        assert taken > 0
        writer.begin(snapshot(1))
        assert gate.reached.wait(60)
        # It would overwrite what is being written.
        writer.reserve(snapshot(2, 3.0))
        assert writer.is_busy
        gate.open.set()
    assert writer._memory.bytes == taken


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("look", [CheckpointWriter.check, CheckpointWriter.wait, lambda one: one.begin(snapshot(3))])
def test_a_failed_write_is_an_error_of_training_once(
    directory: FoldDirectory,
    writer: CheckpointWriter,
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[CheckpointWriter], None],
) -> None:
    with writer:
        writer.begin(snapshot(1))
        writer.wait()
        with monkeypatch.context() as patched:
            patched.setattr(torch, "save", fail)
            writer.begin(snapshot(2))
            while writer.is_busy:
                pass
        with pytest.raises(OSError, match="No space left on device") as caught:
            look(writer)
        assert str(directory.checkpoints / "step-00000002-epoch-0000") in str(caught.value)
        writer.check()
    assert [path.name for path in directory.checkpoints.iterdir()] == ["step-00000001-epoch-0000"]


def test_a_value_that_is_not_finite_is_an_error_of_training(directory: FoldDirectory, writer: CheckpointWriter) -> None:
    with (
        pytest.raises(UserError, match=r"^model\.w is not finite at step 1; .*no checkpoint has these weights$"),
        writer,
    ):
        writer.begin(snapshot(1, float("inf")))
    assert not directory.checkpoints.exists()


def test_a_run_directory_that_vanished_is_an_error_and_is_not_made_again(
    directory: FoldDirectory, writer: CheckpointWriter
) -> None:
    (directory.path.parent / "recipe.json").unlink()
    with pytest.raises(UserError, match=r"recipe\.json was there when training started and is missing now"), writer:
        writer.begin(snapshot(1))
    assert not directory.path.exists()


def test_an_error_of_training_waits_for_the_write_and_is_the_one_raised(
    directory: FoldDirectory,
    writer: CheckpointWriter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(StopRequested), writer:
        writer.begin(snapshot(1))
        raise StopRequested("stop")
    assert checkpoint.latest(directory.checkpoints) is not None
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(StopRequested), CheckpointWriter(directory, torch.device("cpu")) as failing:
        failing.begin(snapshot(2))
        raise StopRequested("stop")
    assert "the last checkpoint could not be saved either: OSError: [Errno 28] No space left on device" in caplog.text
