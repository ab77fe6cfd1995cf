"""A run that several tests compare with, and a small file system."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_commands import train


@pytest.fixture(scope="session")
def alone(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process, its folds in turn, never disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    train(dataset, folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system that a test can fill, make read-only and unmount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {made.stderr.decode().strip()}")
    yield disk
    while subprocess.run(["umount", "-l", disk], capture_output=True, check=False).returncode == 0:
        pass
