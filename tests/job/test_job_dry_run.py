"""What a dry run says, beside the training that it is about, and how it is stopped."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from job_commands import COLD, JOB, run
from waiting import LONG_S

SIGNALLED = """
import os, runpy, sys, time
from pneumo.training import dry_run

def measure(*words, **more):
    os.kill(os.getpid(), number)
    time.sleep(3)
    raise SystemExit("measured on")

number, sys.argv = int(sys.argv[1]), sys.argv[2:]
dry_run.measure = measure
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a dry run that is sent a signal while it measures."""
WORDS = ["--recipe", "debug", "--epochs", "1", "--image-size", "64", "--folds", "0", "--workers", "1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [["--model.encoder", "mobilenet_v2"], ["--model.encoder", "resnet34", "--keep", "best"]], ids=lambda m: m[1]
)
def test_the_memory_that_is_stated_is_that_of_the_training(dataset: Path, tmp_path: Path, more: list[str]) -> None:
    words = [*COLD, str(JOB / "train.py"), "--dataset", str(dataset), "--run", str(tmp_path / "run"), *WORDS, *more]
    printed = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=True, timeout=LONG_S).stdout
    stated = re.search(r"^memory +([0-9.]+) GiB of the machine", printed, re.MULTILINE)
    assert stated, printed
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    taken = usage.ru_maxrss / 2**20
    assert 0.85 * taken < float(stated[1]) < 1.15 * taken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_dry_run_ends_at_once_when_it_is_asked_to(dataset: Path, tmp_path: Path, number: signal.Signals) -> None:
    words = ["--dataset", dataset, "--run", tmp_path / "run", *WORDS, "--dry-run"]
    code, output = run(["-c", SIGNALLED, int(number), JOB / "train.py", *words])
    assert code == 128 + number, output
    assert f"stopped by {number.name}" in output
    assert "measured on" not in output
    assert "Traceback" not in output
