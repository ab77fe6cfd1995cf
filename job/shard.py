"""Turn DICOM files into a dataset of shards.

    python job/shard.py --dicom train/ --test-dicom test/ --masks train-rle.csv --patients patients.csv --out DATASET
    python job/shard.py ... --task 3/16     # one of 16 tasks of an array job; the one that ends last finishes

An interrupted build is resumed by the same command; a finished dataset is kept.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from pneumo.dataset import messages
from pneumo.dataset.build import build
from pneumo.dataset.limits import Limits, MemoryLimit, TimeLimit
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dicom.attributes import PRIVACY_NOTE
from pneumo.runtime.cli import parse, run
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import NumFolds, Percent, Seed, Workers


@config_dataclass
class Arguments(BuildInputs):
    """Flags of job/shard.py."""

    out: Path
    """Directory of the dataset."""
    num_folds: NumFolds = BuildOptions.num_folds
    """Number of folds (2 to 127). Another number on a finished dataset rewrites its table, not its shards."""
    seed: Seed = 0
    """Seed of the fold assignment."""
    workers: Workers = field(default_factory=available_cores)
    """Worker processes."""
    task: str = "0/1"
    """I/N: write every N-th shard, beginning with the I-th, counted from 0."""
    max_quarantined: Percent = BuildOptions.max_quarantined
    """Percent of the files that may be quarantined; with more, exit code 2, and the dataset is not published."""
    time_limit: TimeLimit = Limits().time_limit
    """Seconds that one file may take to read; then it is quarantined."""
    memory_limit: MemoryLimit = Limits().memory_limit
    """GiB of memory that one file may take to read."""


def parse_task(text: str) -> tuple[int, int]:
    """Return (I, N) of ``I/N``."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise UserError(f"--task {text}", "I/N with I from 0 to N - 1, such as 0/4", "correct --task")
    return int(found[1]), int(found[2])


def main(arguments: Arguments) -> None:
    """Build, and print how many files became samples."""
    task, tasks = parse_task(arguments.task)
    options = BuildOptions(
        num_folds=arguments.num_folds,
        seed=arguments.seed,
        workers=arguments.workers,
        task=task,
        tasks=tasks,
        max_quarantined=arguments.max_quarantined,
        limits=Limits(time_limit=arguments.time_limit, memory_limit=arguments.memory_limit),
    )
    if arguments.masks is None:
        log.warning("no --masks: the images of %s have no label and become test images", arguments.dicom)
    manifest = build(arguments, arguments.out, options)
    if manifest is not None:
        sys.stdout.write(messages.summary(arguments.out, manifest))


def read_arguments(argv: Sequence[str]) -> Arguments:
    """Parse the command line."""
    return parse(Arguments, argv, prog="job/shard.py", description=f"Turn DICOM files into a dataset. {PRIVACY_NOTE}")


if __name__ == "__main__":
    run(lambda: main(read_arguments(sys.argv[1:])))
