"""Looking at folds that tests train, stopping them, and scaling their loss as in fp16."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import AfterSteps

from pneumo.runtime.errors import StopRequested
from pneumo.training import checkpoint, run_directory
from pneumo.training.loop_state import MEASURED
from pneumo.training.recipe import Recipe
from pneumo.training.run_directory import FoldDirectory

STEPS = 4
"""Steps in an epoch of the recipe ``debug`` on the tests' dataset."""

Train = Callable[..., FoldDirectory]


def newest(directory: FoldDirectory) -> Path:
    path = checkpoint.latest(directory.checkpoints)
    assert path is not None
    return path


def history(directory: FoldDirectory) -> list[dict[str, float]]:
    """Return the history of a finished fold without what is measured."""
    entries = json.loads(directory.summary.read_text())["history"]
    return [{name: value for name, value in entry.items() if name not in MEASURED} for entry in entries]


def stopped(train: Train, name: str, recipe: Recipe, tmp_path: Path) -> Path:
    with pytest.raises(StopRequested):
        train(name, recipe, AfterSteps(2))
    return newest(run_directory.load(tmp_path / name).fold(0))


def fp16(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Scale the loss as in fp16, which itself needs a GPU; the scaler does not."""
    scaler = partial(torch.amp.GradScaler, **options)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler(device, enabled=True))
