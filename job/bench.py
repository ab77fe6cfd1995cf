#!/usr/bin/env python3
"""Measure pneumo against its peers and limits, in the same run.

All parts, on made-up X-rays:
    python job/bench.py
Two parts, on real ones:
    python job/bench.py shard load --dicom train/ --masks train-rle.csv --images 967

Every figure stands beside a peer's or a limit's that was measured in turns with it. pneumo/bench/README.md tells
what the peers are and gives figures.
"""

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from pneumo.bench import table
from pneumo.bench.race import Measure
from pneumo.bench.source import Settings, Source
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.files import check_target, publish_text

Part = Literal["rle", "shard", "verify", "load", "train", "save", "search"]


@config_dataclass
class Arguments(Settings):
    """Flags of job/bench.py."""

    parts: tyro.conf.Positional[tuple[Part, ...]] = ()
    """What to measure; nothing named = everything."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="JSON")] = None
    """File for the figures as JSON."""


def main(arguments: Arguments) -> None:
    """Measure, and print the table."""
    # Not above: worker processes read this file again, and are not to wait for torch.
    from pneumo.bench import machine

    if arguments.out is not None:
        check_target(arguments.out)
    described = machine.describe()
    measures: list[Measure] = []
    with tempfile.TemporaryDirectory(prefix="pneumo-bench-") as folder:
        source = Source(arguments, Path(folder))
        for part in arguments.parts or get_args(Part):
            log.info("measuring %s", part)
            measures += import_module(f"pneumo.bench.{part}").measure(arguments, source)
    if arguments.out is not None:
        publish_text(arguments.out, table.as_json(measures, described))
    sys.stdout.write(table.text(measures, described))


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(Arguments, sys.argv[1:], prog="job/bench.py", description=(__doc__ or "").strip())))
