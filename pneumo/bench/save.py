"""Saving a checkpoint of the largest network of the recipes: the pause, the whole write, and the steps beside it.

A checkpoint must be saved between a stop signal and the kill: 30 s on Kubernetes by default (120 in our manifests),
30 s of KillWait on Slurm.
"""

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from pneumo.bench.comparison import Comparison, per_item, per_second
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns
from pneumo.bench.train import draw
from pneumo.distributed.startup import init
from pneumo.modeling.config import ModelConfig
from pneumo.training.checkpoint import Snapshot
from pneumo.training.checkpoint_writer import CheckpointWriter
from pneumo.training.host_copy import layouts
from pneumo.training.loop_state import LoopState
from pneumo.training.recipe import Recipe
from pneumo.training.run_directory import FoldDirectory
from pneumo.training.train_state import TrainState

STEPS = 3
"""Steps beside a write, which takes longer."""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Save a network, its EMA and AdamW's moments, with checksums, flushed to disk, published by rename."""
    with tempfile.TemporaryDirectory(prefix="pneumo-save-", dir=source.directory) as name:
        run = Path(name)
        (run / "recipe.json").touch()
        training = _Training(run, settings)
        with training.writer:
            return _compare(training, settings)


class _Training:
    """A network in training, and the ways to save it."""

    def __init__(self, run: Path, settings: Settings) -> None:
        world = init()
        model = ModelConfig(encoder=settings.save_encoder, encoder_weights="none")
        self._state = TrainState(Recipe(model=model, batch_size=2, micro_batch_size=2), 0, world, world)
        self._device, self._path, self._numbers = world.device, run / "theirs.pt", itertools.count(1)
        self._batch = draw(2, settings.train_size, world.device)
        self.writer = CheckpointWriter(FoldDirectory(run / "fold-0"), world.device)
        # So that the optimizer has its moments.
        self.step()

    def snapshot(self) -> Snapshot:
        """Return what a checkpoint has."""
        return Snapshot(LoopState(step=next(self._numbers)), self._state.weights(), self._state.optimizer_state())

    def synchronize(self) -> None:
        """Wait until the device has done its work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def rest(self) -> None:
        """Wait until nothing is written either."""
        self.writer.wait()
        self.synchronize()

    def begin(self) -> None:
        """Do what training waits for; on a GPU its queue waits for the copies."""
        self.writer.begin(self.snapshot())
        self.synchronize()

    def save(self) -> None:
        """Save and wait, as at a stop."""
        self.writer.begin(self.snapshot())
        self.writer.wait()

    def save_by_torch(self) -> None:
        """Write the same tensors into one file, without a checksum."""
        with self._path.open("wb") as file:
            torch.save([self._state.weights(), self._state.optimizer_state()], file)
            file.flush()
            os.fsync(file.fileno())

    def step(self, count: int = 1) -> None:
        """Do steps."""
        for _ in range(count):
            self._state.step([self._batch], 0, 1e-4)
        self.synchronize()

    def begin_and_step(self) -> None:
        """Do the steps that follow on the beginning of a checkpoint, and that."""
        self.writer.begin(self.snapshot())
        self.step(STEPS)

    def copying(self) -> Callable[[], None]:
        """Return what copies a piece of memory of the same size to the host."""
        size, on_gpu = self.size, self._device.type == "cuda"
        source = torch.zeros(size, dtype=torch.uint8, device=self._device).fill_(1)
        target = torch.zeros(size, dtype=torch.uint8, pin_memory=on_gpu).fill_(1)

        def copy() -> None:
            target.copy_(source, non_blocking=True)
            self.synchronize()

        return copy

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        snapshot = self.snapshot()
        parts = layouts([snapshot.weights, snapshot.optimizer])
        return sum(torch.Size(part.shape).numel() * part.dtype.itemsize for part in parts)


def _compare(training: _Training, settings: Settings) -> list[Comparison]:
    repeat, rest = settings.repeat, training.rest
    pauses = time_in_turns([training.begin, training.copying(), training.save], repeat, prepare=rest)
    writes = time_in_turns([training.save, training.save_by_torch], repeat, prepare=rest)
    steps = time_in_turns([training.begin_and_step, lambda: training.step(STEPS)], repeat, prepare=rest)
    network = f"unet-{settings.save_encoder}, {training.size / 1e6:.0f} MB"
    pause, write = f"pause for a checkpoint of {network}", f"checkpoint of {network}"
    step = f"{STEPS} steps of {settings.train_size} px beside a write of {network}, with the pause"
    return [
        per_item("save", pause, "one copy of as many bytes", "ms", ours=pauses[0], theirs=pauses[1], scale=1000),
        per_item("save", pause, "waiting for the write", "ms", ours=pauses[0], theirs=pauses[2], scale=1000),
        per_item("save", write, "torch.save + fsync", "s", ours=writes[0], theirs=writes[1], scale=1),
        per_second("save", step, "no write", "steps/s", ours=steps[0], theirs=steps[1], items=STEPS),
    ]
