"""Saving a checkpoint of the largest network of the recipes, and torch.save of the same tensors.

A checkpoint must be saved between a stop signal and the kill: 30 s on Kubernetes by default (120 in our manifests),
30 s of KillWait on Slurm.
"""

import itertools
import os
import shutil
import tempfile
from pathlib import Path

import torch

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns
from pneumo.bench.train import draw
from pneumo.distributed.startup import init
from pneumo.modeling.config import ModelConfig
from pneumo.training import checkpoint
from pneumo.training.checkpoint import Snapshot
from pneumo.training.loop_state import LoopState
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Save a network, its EMA and AdamW's moments, with checksums, flushed to disk, published by rename."""
    world = init()
    recipe = Recipe(
        model=ModelConfig(encoder=settings.save_encoder, encoder_weights="none"), batch_size=2, micro_batch_size=2
    )
    state = TrainState(recipe, 0, world, world)
    # One step, so that the optimizer has its moments.
    state.step([draw(2, 32, world.device)], 0, 1e-4)
    steps = itertools.count(1)
    with tempfile.TemporaryDirectory(prefix="pneumo-save-", dir=source.directory) as name:
        directory = Path(name)

        def ours() -> Path:
            snapshot = Snapshot(LoopState(step=next(steps)), state.weights(), state.optimizer_state())
            return checkpoint.save(directory / "ours", snapshot)

        def theirs() -> None:
            with (directory / "theirs.pt").open("wb") as file:
                torch.save([state.weights(), state.optimizer_state()], file)
                file.flush()
                os.fsync(file.fileno())

        size = sum(path.stat().st_size for path in ours().iterdir())
        seconds = time_in_turns([ours, theirs], settings.repeat)
        shutil.rmtree(directory / "ours")
    what = f"checkpoint of unet-{settings.save_encoder}, {size / 1e6:.0f} MB"
    return [per_item("save", what, "torch.save + fsync", "s", ours=seconds[0], theirs=seconds[1], scale=1)]
