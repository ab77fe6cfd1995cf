"""Check that every bit of a dataset is what was written, and name every shard and sample that is not.

    python job/verify.py --dataset DATASET

Exit codes: 0 nothing is damaged, 2 something is, or the dataset cannot be read.
"""

import sys
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from pneumo.runtime import log_file
from pneumo.runtime.cli import parse, run, slow_imports
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import FILE_ONLY, Progress, log
from pneumo.runtime.errors import ExitCode
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import Workers
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags


@config_dataclass
class Arguments:
    """Flags of job/verify.py."""

    dataset: Path
    """Directory of the dataset; all of its shards are read."""
    workers: Workers = field(default_factory=available_cores)
    """Threads that read."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main(argv: Sequence[str]) -> ExitCode:
    """Verify, and print every issue with its shard and sample, and their counts."""
    arguments = parse(Arguments, argv, prog="job/verify.py", description=__doc__)
    with slow_imports():
        from pneumo.dataset.table import SampleTable
        from pneumo.dataset.verify import Issue, check, describe, summary

    table = SampleTable.read(arguments.dataset)
    log_file.start(arguments.dataset, "verify", only_reads=True)
    issues: list[Issue] = []
    with Progress("verify", len(table), unit="images") as progress:
        for images, found in check(arguments.dataset, table, arguments.workers):
            for issue in found:
                _write(describe(issue, table) + "\n")
            issues += found
            progress.step(images, note=f"{len(issues)} issues")
    _write(summary(arguments.dataset, table, issues))
    return ExitCode.USER if issues else ExitCode.DONE


def _write(text: str) -> None:
    sys.stdout.write(text)
    log.info("%s", text.rstrip(), extra=FILE_ONLY)


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
