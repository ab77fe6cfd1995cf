"""How tests start the commands: as a user does, in processes of their own, most of which a warm Python forks."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import warm_python
from waiting import LONG_S

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "job"
INTERRUPTION = Path(__file__).parent / "interruption"
FIRST = r"fold-{}/checkpoints/step-\d+-epoch-0000$"
"""The first checkpoint of a fold, within its first epoch."""
ACCELERATE = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
ACCELERATE += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
RECIPE = ["--recipe", "debug", "--epochs", "2", "--image-size", "32", "--checkpoint-minutes", "0.001"]
SMALL_NETWORK = ["--model.encoder", "tu-test_efficientnet", "--model.decoder-channels", *["16"] * 5]
"""The smallest encoder of timm, which its own tests use, and as few channels as a decoder with scSE takes."""
RECIPE += SMALL_NETWORK

Predict = Callable[..., tuple[object, str]]
"""Type of the fixture ``predict``."""

# Two processes share the cores, a thread each. One process gets one core, for the same number of threads: sums then
# have one order, and results are equal to the last bit.
ONE_CORE = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
COLD = [*ONE_CORE, sys.executable]
"""Starts a Python, for tests in which it counts that a command is a process of its own from its first import on."""


def warm() -> list[str]:
    """Return what starts a Python that has its imports behind it."""
    return [*ONE_CORE, str(warm_python.executable())]


def accelerate() -> list[str]:
    """Return what starts two ranks as accelerate does, which share the cores."""
    return [str(warm_python.executable()), *ACCELERATE]


def launch(processes: int) -> list[str]:
    """Return what starts so many ranks of this machine."""
    return [*warm(), str(JOB / "launch.py"), "--processes", str(processes)]


def interrupted(
    directory: Path, at: str, by: int | str, *, rank: str = "", launcher: Sequence[str] | None = None
) -> list[str]:
    """Return what starts a command that is interrupted when it has published a file, see interruption/.

    Args:
        directory: For the files of this interruption, made if missing.
        at: Regular expression of the file's path.
        by: A signal that the process sends itself; or ``"signal"`` or ``"go"``, for which it waits.
        rank: The one that is interrupted; of a command without ranks, it is empty.
        launcher: What would start it otherwise.
    """
    directory.mkdir(exist_ok=True)
    path = os.pathsep.join([str(INTERRUPTION), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"AT": at, "BY": by if isinstance(by, str) else int(by), "RANK": rank, "DIRECTORY": directory}
    words = [f"INTERRUPT_{name}={value}" for name, value in settings.items()]
    return ["env", f"PYTHONPATH={path}", *words, *(launcher or warm())]


def start(words: Sequence[object], *, launcher: Sequence[str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*(launcher or warm()), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    )


def run(words: Sequence[object], *, launcher: Sequence[str] | None = None) -> tuple[int, str]:
    process = start(words, launcher=launcher)
    output, _ = process.communicate(timeout=LONG_S)
    return process.returncode, output


def run_all(commands: Sequence[tuple[str, Sequence[object]]]) -> list[tuple[int, str]]:
    """Run command lines of job/ one after another, and return the exit code and the output of each."""
    return [run([JOB / f"{name}.py", *words]) for name, words in commands]


def train(dataset: Path, directory: Path, *more: object, launcher: Sequence[str] | None = None) -> str:
    code, output = run([JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, *more], launcher=launcher)
    assert code == 0, output
    return output


def weights(directory: Path, fold: int = 0) -> bytes:
    return (directory / f"fold-{fold}" / "model.safetensors").read_bytes()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))
