"""Starting a command to the end of its ``--help``, and of the libraries alone that read its flags."""

import subprocess
import sys
from pathlib import Path

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns

JOB = Path(__file__).resolve().parents[2] / "job"
COMMANDS = ("train", "predict", "shard", "score")
LIMIT = "import pydantic.dataclasses, tyro"


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Start some commands, and Python with the libraries that read the flags."""
    del source

    def start(*words: str) -> None:
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)

    works = [lambda name=name: start(str(JOB / f"{name}.py"), "--help") for name in COMMANDS]
    *ours, theirs = time_in_turns([*works, lambda: start("-c", LIMIT)], settings.repeat)
    return [
        per_item("start", f"job/{name}.py --help", f"limit: {LIMIT}", "s", ours=seconds, theirs=theirs, scale=1)
        for name, seconds in zip(COMMANDS, ours, strict=True)
    ]
