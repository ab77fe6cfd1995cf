"""How tests start the commands: as a user does, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "job"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
RECIPE = ["--recipe", "debug", "--epochs", "2", "--image-size", "32", "--checkpoint-every", "2"]
RECIPE += ["--model.encoder", "tu-test_efficientnet"]
"""The smallest encoder of timm, which its own tests use."""

# Two processes share the cores, a thread each. One process gets one core, for the same number of threads: sums then
# have one order, and results are equal to the last bit.
ALONE = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable]


def start(words: Sequence[object], *, launcher: Sequence[str] = ALONE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*launcher, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    )


def run(words: Sequence[object], *, launcher: Sequence[str] = ALONE) -> tuple[int, str]:
    process = start(words, launcher=launcher)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def run_together(commands: Sequence[tuple[str, Sequence[object]]]) -> list[tuple[object, str]]:
    """Run command lines of job/ one after another in one process, which imports torch once.

    Returns:
        The exit code and the output of each.
    """
    done = subprocess.run(
        [*ALONE, ROOT / "tests" / "command_driver.py"],
        input=json.dumps([(name, list(map(str, words))) for name, words in commands]),
        capture_output=True, text=True, cwd="/", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(code, output + errors) for code, output, errors in json.loads(done.stdout)]


def train(dataset: Path, directory: Path, *more: object, launcher: Sequence[str] = ALONE) -> str:
    code, output = run([JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, *more], launcher=launcher)
    assert code == 0, output
    return output


def weights(directory: Path, fold: int = 0) -> bytes:
    return (directory / f"fold-{fold}" / "model.safetensors").read_bytes()
