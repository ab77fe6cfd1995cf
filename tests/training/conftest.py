"""Folds that tests train."""

from pathlib import Path

import pytest
from trained_folds import Train
from training_runs import TWO_EPOCHS, train_fold

from pneumo.distributed.world import World
from pneumo.reporting.html import charts
from pneumo.reporting.html.chart import Chart
from pneumo.training.run_directory import FoldDirectory


@pytest.fixture(autouse=True)
def plain_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reports of these runs have empty charts, of which matplotlib draws fifteen in 3 s; see tests/job, too."""
    monkeypatch.setattr(charts, "to_svg", lambda _, description: Chart(svg="<svg></svg>", description=description))


@pytest.fixture
def train(dataset: Path, tmp_path: Path, world: World) -> Train:
    """Train fold 0 in a named run of this test; return its directory."""
    return lambda name, *arguments, **options: train_fold(tmp_path / name, dataset, world, *arguments, **options)


@pytest.fixture(scope="session")
def whole(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> FoldDirectory:
    """Two epochs that were never stopped."""
    return train_fold(tmp_path_factory.mktemp("runs") / "whole", dataset, world, TWO_EPOCHS)
