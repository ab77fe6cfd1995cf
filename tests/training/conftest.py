"""Folds that tests train."""

from pathlib import Path

import pytest
from trained_folds import Train
from training_runs import TWO_EPOCHS, train_fold

from pneumo.distributed.world import World
from pneumo.training.run_directory import FoldDirectory


@pytest.fixture(autouse=True)
def reports_without_charts(empty_charts: None) -> None:
    """The charts in the reports of these runs are not looked at."""


@pytest.fixture
def train(dataset: Path, tmp_path: Path, world: World) -> Train:
    """Train fold 0 in a named run of this test; return its directory."""
    return lambda name, *arguments, **options: train_fold(tmp_path / name, dataset, world, *arguments, **options)


@pytest.fixture(scope="session")
def whole(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> FoldDirectory:
    """Two epochs that were never stopped."""
    return train_fold(tmp_path_factory.mktemp("runs") / "whole", dataset, world, TWO_EPOCHS)
