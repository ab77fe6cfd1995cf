"""A run that several tests compare with, and a small file system."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_driver import call
from job_commands import Predict, train

from pneumo.inference.decision_rule import DecisionRule, write_rule


@pytest.fixture(scope="session")
def alone(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process, its folds in turn, never disturbed."""
    directory = tmp_path_factory.mktemp("runs") / "alone"
    train(dataset, directory)
    return directory


@pytest.fixture
def call_on_one_core(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[object, str]]:
    """Run a command in this process, which has torch imported already; on one core, for the sums of ``alone``."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call_on_one_core(command: str, *words: object) -> tuple[object, str]:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        try:
            code, *output = call(command, [*map(str, words)])
        finally:
            os.sched_setaffinity(0, cores)
        return code, "".join(output)

    return call_on_one_core


@pytest.fixture
def predict(alone: Path, call_on_one_core: Callable[..., tuple[object, str]]) -> Predict:
    """Run the command in this process."""

    def predict(dicom: Path, out: Path, *flags: object, run: Path = alone) -> tuple[object, str]:
        return call_on_one_core("predict", "--run", run, "--dicom", dicom, "--out", out, *flags)

    return predict


@pytest.fixture
def all_positive(alone: Path, tmp_path: Path) -> Path:
    """A run whose rule calls every image positive."""
    copy = shutil.copytree(alone, tmp_path / "all_positive", ignore=shutil.ignore_patterns("checkpoints"))
    write_rule(copy / "thresholds.json", DecisionRule(1, 0.0, 1))
    return copy


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mount directories read-only over themselves; permissions do not stop root."""
    mounted = []

    def mount(directory: Path) -> None:
        for options in (["--bind", directory, directory], ["-o", "remount,bind,ro", directory]):
            made = subprocess.run(["mount", *map(str, options)], capture_output=True, check=False)
            if made.returncode != 0:
                pytest.skip(f"mounting is not permitted here: {made.stderr.decode().strip()}")
            mounted.append(directory)

    yield mount
    for directory in dict.fromkeys(mounted):
        subprocess.run(["umount", "-l", directory], check=True)


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
