"""Trains a fold in processes that are killed within a write of a checkpoint, one after another.

Started as a script with a dataset and a run, it prints for each which checkpoint the next one resumes from, and how
many unfinished ones there are. A Python that has imported torch forks the processes.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training_runs import TWO_EPOCHS, make_trainer

from pneumo.distributed.startup import init
from pneumo.training import checkpoint
from pneumo.training.checkpoint import Snapshot
from pneumo.training.checkpoint_writer import CheckpointWriter


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def while_writing() -> None:
    """Be killed when the second file of step 2 is half written."""
    write = checkpoint._write_hashed

    def write_or_die(path: Path, *arguments: Any) -> tuple[int, str]:
        if path.name == "ema.safetensors" and path.parent.name.startswith(".step-00000002"):
            path.write_bytes(b"half")
            die()
        return write(path, *arguments)

    checkpoint._write_hashed = write_or_die


def before_renaming() -> None:
    """Be killed when all of step 4 is written, before it gets its name."""
    rename = Path.rename

    def rename_or_die(path: Path, target: Path) -> Path:
        if target.name.startswith("step-00000004"):
            die()
        return rename(path, target)

    Path.rename = rename_or_die  # type: ignore[method-assign,assignment]


def while_pruning() -> None:
    """Be killed when step 6 has its name, and the checkpoint that it replaces is half removed."""
    remove = shutil.rmtree

    def remove_or_die(path: Path, **options: Any) -> None:
        if (path.parent / "step-00000006-epoch-0001").exists():
            (path / "manifest.json").unlink()
            die()
        remove(path, **options)

    shutil.rmtree = remove_or_die  # type: ignore[assignment]


def train(dataset: Path, run: Path, plan_death: Callable[[], None]) -> None:
    """Train with a checkpoint at each step, until death."""
    begin = CheckpointWriter.begin

    def begin_and_wait(writer: CheckpointWriter, snapshot: Snapshot) -> None:
        begin(writer, snapshot)
        writer.wait()

    CheckpointWriter.begin = begin_and_wait  # type: ignore[method-assign]
    plan_death()
    world = init()
    torch.set_num_threads(1)
    make_trainer(run, dataset, world, TWO_EPOCHS, checkpoint_minutes=1e-9).run()


def main() -> None:
    """Fork the processes and print what each left."""
    dataset, run = map(Path, sys.argv[1:])
    directory = run / "fold-0" / "checkpoints"
    deaths = {"writing": while_writing, "renaming": before_renaming, "pruning": while_pruning}
    for name, plan_death in deaths.items():
        child = os.fork()
        if child == 0:
            train(dataset, run, plan_death)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        newest = checkpoint.latest(directory)
        assert newest is not None
        torn = len(list(directory.glob(".step-*")))
        how = "killed" if ended == -signal.SIGKILL else f"exit code {ended}"
        sys.stdout.write(f"{name}: {how}, resumes from {int(newest.name[5:13])}, torn {torn}\n")


if __name__ == "__main__":
    main()
