#!/usr/bin/env python3
"""Average the folds of one or more runs over the test images of a dataset, and write a submission.

    python job/ensemble.py --runs runs/A --dataset DATASET --out submission.csv

    accelerate launch --multi_gpu --num_processes 4 job/ensemble.py --runs runs/A runs/B --dataset DATASET --out s.csv

It also finishes a run whose folds were trained one by one: rules, out-of-fold figures and masks.
Exit codes: 0 done, 2 wrong input.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pneumo import cli
from pneumo.dataset.shards import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed import join, leave
from pneumo.training import finish, run_directory


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Flags of job/ensemble.py."""

    runs: tuple[Path, ...]
    """Run directories whose folds are all trained."""
    dataset: Path
    """Dataset whose test images are predicted."""
    out: Path
    """Submission to write; replaced in one step when it exists."""
    expected: Path | None = None
    """CSV with the ids, and their order, that the submission must have (Kaggle's sample submission)."""
    shares: tuple[float, ...] = ()
    """Weight of each run in the mean; none given = equal."""
    min_component: float = 0.0
    """Drop connected parts of a mask smaller than this, in pixels of a 1024x1024 image; 0 = none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the networks' arithmetic; auto = bf16 where the device has it, else fp32."""
    workers: int = 0
    """Threads that decode, in each process; 0 = the cores that each process has."""
    expect_world: int = 0
    """Processes that the launcher was asked for; refuse to run with another number. 0 = do not check."""


def main() -> None:
    """Ensemble."""
    description = (__doc__ or "").strip()
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/ensemble.py", description=description)
    runs = [run_directory.load(path) for path in arguments.runs]
    world = join(precision=arguments.precision, expect_world=arguments.expect_world or None)
    workers = arguments.workers or world.cores
    reader = ShardReader(arguments.dataset, SampleTable.read(arguments.dataset))
    try:
        for run in runs:
            finish.finish(run, world, reader, workers=workers)
        finish.write_submission(
            runs,
            world=world,
            reader=reader,
            out=arguments.out,
            expected=arguments.expected,
            workers=workers,
            shares=arguments.shares,
            min_component=arguments.min_component,
        )
    finally:
        leave()


if __name__ == "__main__":
    cli.run(main)
