"""Measure pneumo beside its baselines and limits.

All parts, on synthetic X-rays:
    python job/bench.py --out bench.json
Two parts, on real ones:
    python job/bench.py shard load --dicom train/ --masks train-rle.csv --images 967

Each time or rate is printed beside a baseline's or a limit's, measured in turns with it. pneumo/bench/README.md
describes the baselines and has results.
"""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from pneumo.bench import table
from pneumo.bench.comparison import Comparison
from pneumo.bench.settings import Settings
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import check_target, publish_text
from pneumo.runtime.outputs import check_apart, check_earlier_json
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags

Part = Literal[
    "start",
    "rle",
    "shard",
    "verify",
    "copy",
    "plan",
    "load",
    "infer",
    "predict",
    "train",
    "ranks",
    "save",
    "search",
    "folds",
]
OF_A_DATASET: tuple[Part, ...] = ("load", "infer")
"""Parts that read the images of ``--dataset``."""
RENAMED_FLAGS = {"--evidences": "--histograms"}
"""Flags of version 0.1, and what replaced them; CHANGELOG.md has the same table."""


@config_dataclass
class Arguments(Settings):
    """Flags of job/bench.py."""

    parts: tyro.conf.Positional[tuple[Part, ...]] = ()
    """What to measure; none named = all."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="JSON")] = None
    """File for the results as JSON, with the same table as Markdown beside it (.md). An existing file is replaced only
    when it has such results."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main(arguments: Arguments) -> None:
    """Measure, and print the table."""
    # Not in worker processes, which import this file again.
    with cli.slow_imports():
        from pneumo.bench import machine
        from pneumo.bench.source import Source
        from pneumo.distributed.stopping import exiting_on_signals

    parts = arguments.parts or get_args(Part)
    if arguments.dataset is not None and not set(parts) & set(OF_A_DATASET):
        raise UserError(
            f"--dataset with {', '.join(parts)}", f"a part that reads one: {', '.join(OF_A_DATASET)}", "leave it out"
        )
    if arguments.out is not None:
        _check_out(arguments.out, arguments)
    described = {**machine.describe(), "command": shlex.join(["job/bench.py", *sys.argv[1:]])}
    comparisons: list[Comparison] = []
    try:
        with exiting_on_signals(), tempfile.TemporaryDirectory(prefix="pneumo-bench-") as directory:
            source = Source(arguments, Path(directory))
            for part in parts:
                log.info("measuring %s", part)
                comparisons += import_module(f"pneumo.bench.{part}").measure(arguments, source)
                if arguments.out is not None:
                    # The table first: an earlier one is known by the JSON beside it.
                    publish_text(arguments.out.with_suffix(".md"), table.as_markdown(comparisons, described))
                    publish_text(arguments.out, table.as_json(comparisons, described))
    finally:
        # Of the parts that are complete, where one was stopped or failed.
        if comparisons:
            sys.stdout.write(table.text(comparisons, described))


def _check_out(out: Path, arguments: Arguments) -> None:
    """Refuse, before anything is measured, files for the results that cannot be written, or are something else."""
    if out.suffix != ".json":
        raise UserError(f"--out {out}", "a file name that ends in .json", "correct --out")
    inputs = {"--dicom": arguments.dicom, "--masks": arguments.masks, "--dataset": arguments.dataset}
    for path in (out, out.with_suffix(".md")):
        check_target(path)
        check_apart("--out", path, inputs)
    check_earlier_json("--out", out, table.FIELDS)
    if not out.exists() and out.with_suffix(".md").exists():
        raise UserError(
            f"--out {out}, and there is {out.with_suffix('.md')}, which would be replaced",
            "neither of the two, or both from this command",
            "give another --out, or move the file",
        )


def read_arguments(argv: Sequence[str]) -> Arguments:
    """Parse the command line."""
    return cli.parse(Arguments, argv, prog="job/bench.py", description=__doc__, renamed=RENAMED_FLAGS)


if __name__ == "__main__":
    cli.run(lambda: main(read_arguments(sys.argv[1:])))
