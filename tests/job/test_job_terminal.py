"""job/train.py in a terminal that is closed: it saves and ends, or trains on under nohup; both to the same bytes."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
from job_commands import COLD, FIRST, JOB, RECIPE, interrupted, train, weights
from waiting import LONG_S, wait_until

pytestmark = pytest.mark.slow


def train_until_terminal_closes(dataset: Path, directory: Path, launcher: list[str]) -> int:
    """Train fold 0 in a terminal that is closed at the first checkpoint, and return the exit code.

    The kernel then sends SIGHUP to the process that the terminal belongs to, which is the command itself.
    """
    at = directory.with_name("at")
    words = [JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, "--folds", 0]
    command = [*interrupted(at, FIRST.format(0), "go", launcher=launcher), *map(str, words)]
    screen, terminal = pty.openpty()
    process = subprocess.Popen(["setsid", "--ctty", *command], stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    wait_until((at / "reached").exists, process)
    os.close(screen)
    (at / "go").touch()
    return process.wait(LONG_S)


def test_a_closed_terminal_saves_and_the_same_command_resumes_to_the_same_bytes(
    alone: Path, dataset: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    assert train_until_terminal_closes(dataset, directory, COLD) == 3
    assert not (directory / "fold-0" / "fold.json").exists()
    assert "fold 0 resumes from step-" in train(dataset, directory, "--folds", 0)
    assert weights(directory) == weights(alone)


def test_under_nohup_training_goes_on_to_its_end_without_the_terminal(
    alone: Path, dataset: Path, tmp_path: Path
) -> None:
    log = tmp_path / "train.log"
    nohup = ["sh", "-c", f'exec nohup "$0" "$@" >{log} 2>&1', *COLD]
    assert train_until_terminal_closes(dataset, tmp_path / "run", nohup) == 0, log.read_text()
    assert weights(tmp_path / "run") == weights(alone)
