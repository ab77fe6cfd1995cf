"""A real Slurm for the tests, and an uninterrupted run on this machine."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import RECIPE, ROOT, Cluster, Submission


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start the cluster, after removing what an interrupted test run may have left, and stop it at the end."""
    here = Cluster()
    here.script("down")
    try:
        here.script("up")
        yield here
    finally:
        here.script("down")


@pytest.fixture(scope="session")
def reference_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process on one core, never interrupted."""
    directory = tmp_path_factory.mktemp("runs") / "reference_run"
    train = [sys.executable, ROOT / "job" / "train.py", "--dataset", dataset, "--run", directory]
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *map(str, train), "--recipe", "debug", *RECIPE]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture
def submission(cluster: Cluster, dataset: Path, tmp_path: Path) -> Callable[[], Submission]:
    """Make submissions of one run on the shared dataset; their jobs are cancelled at the end of the test."""
    made: list[Submission] = []

    def make() -> Submission:
        made.append(Submission(cluster, tmp_path / "run", dataset, tmp_path / "logs"))
        return made[-1]

    yield make
    for one in made:
        cluster.run("scancel", *one.ids.values())
