"""Check that every bit of a dataset is what was written, and name every shard and sample that is not.

    python job/verify.py --dataset DATASET

Exit codes: 0 nothing is damaged, 2 something is, or the dataset cannot be read.
"""

import sys
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from pneumo.dataset.verify import verify
from pneumo.runtime.cli import parse, run
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import Workers


@config_dataclass
class Arguments:
    """Flags of job/verify.py."""

    dataset: Path
    """Directory of the dataset; all of its shards are read."""
    workers: Workers = field(default_factory=available_cores)
    """Threads that read."""


def main(argv: Sequence[str]) -> int:
    """Verify."""
    arguments = parse(Arguments, argv, prog="job/verify.py", description=__doc__)
    return verify(arguments.dataset, arguments.workers)


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
