"""Starting a command: to the end of its ``--help``, and to the first step of training when a run is resumed."""

import subprocess
import sys
from functools import partial
from pathlib import Path

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns
from pneumo.runtime.errors import ExitCode

JOB = Path(__file__).resolve().parents[2] / "job"
COMMANDS = ("train", "predict", "shard", "score")
FLAGS = "import pydantic.dataclasses, tyro"
"""What reads the flags."""
TORCH = "import torch"
OPTIMIZER = "import torch, torch._dynamo"
"""What an optimizer of torch imports at its first step, even where nothing is compiled."""
_TO_A_STEP = """
import os, runpy, signal, sys
from pneumo.runtime import cli
with cli.slow_imports():
    from pneumo.training.train_state import TrainState
end, step = sys.argv.pop(1), TrainState.step
def last(*arguments, **named):
    stepped = step(*arguments, **named)
    if end == "stop":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        os._exit(0)
    return stepped
TrainState.step = last
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a command to its first training step, and ends it there, or lets it save and stop."""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Start some commands, and Python with the libraries that each needs at least."""
    return _to_help(settings) + _to_first_step(settings, source)


def _to_help(settings: Settings) -> list[Comparison]:
    works = [partial(start, str(JOB / f"{name}.py"), "--help") for name in COMMANDS]
    *ours, theirs = time_in_turns([*works, partial(start, "-c", FLAGS)], settings.repeat)
    return [
        per_item("start", f"job/{name}.py --help", f"limit: {FLAGS}", "s", ours=seconds, theirs=theirs, scale=1)
        for name, seconds in zip(COMMANDS, ours, strict=True)
    ]


def _to_first_step(settings: Settings, source: Source) -> list[Comparison]:
    """Time a run's second start, which finds a checkpoint of its first step."""
    run = ("--dataset", str(source.dataset), "--run", str(source.directory / "start"), "--recipe", "debug")
    train = ("-c", _TO_A_STEP)
    # Enough epochs for a second step, however few images there are.
    command = (str(JOB / "train.py"), *run, "--epochs", "100", "--workers", str(settings.workers))
    start(*train, "stop", *command, code=ExitCode.REQUEUE)
    works = [partial(start, *train, "end", *command), partial(start, "-c", TORCH), partial(start, "-c", OPTIMIZER)]
    ours, *limits = time_in_turns(works, settings.repeat)
    return [
        per_item(
            "start",
            "job/train.py, resumed, to its first step",
            f"limit: {limit}",
            "s",
            ours=ours,
            theirs=seconds,
            scale=1,
        )
        for limit, seconds in zip((TORCH, OPTIMIZER), limits, strict=True)
    ]


def start(*words: str, code: ExitCode = ExitCode.DONE) -> None:
    """Run Python silently to its end, which has to have an exit code."""
    ended = subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == code, ended.stderr.decode()
