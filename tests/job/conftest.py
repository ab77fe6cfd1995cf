"""A run that several tests compare with."""

from pathlib import Path

import pytest
from job_commands import train


@pytest.fixture(scope="session")
def alone(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process, its folds in turn, never disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    train(dataset, folder)
    return folder
