"""Look at a dataset before training on it: one self-contained page of figures, pictures and warnings.

    python job/explore.py --dataset DATASET --out explore.html

The page needs no network and opens in any browser. It contains X-rays of patients: it may be shown where the dataset
itself may be shown.
"""

import datetime
import sys
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from pneumo.runtime import log_file
from pneumo.runtime.cli import parse, run, slow_imports
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import format_size, log
from pneumo.runtime.errors import counted
from pneumo.runtime.files import check_target
from pneumo.runtime.machine import available_cores
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.ranges import Seed, Workers
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags


@config_dataclass
class Arguments:
    """Flags of job/explore.py."""

    dataset: Path
    """Directory of the dataset; all of its shards are read."""
    out: Path
    """HTML file to write. An existing file is replaced only when it is such a page."""
    pictures: Annotated[int, Interval(ge=0, le=500)] = 24
    """Images shown with a pneumothorax, and as many without; each adds about 20 KB to the page."""
    seed: Seed = 0
    """Seed of the choice of images without a pneumothorax."""
    workers: Workers = field(default_factory=available_cores)
    """Threads that decode images."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main(argv: Sequence[str]) -> None:
    """Read the dataset, and write the page."""
    arguments = parse(Arguments, argv, prog="job/explore.py", description=__doc__)
    check_target(arguments.out)
    check_apart("--out", arguments.out, {"--dataset": arguments.dataset})
    with slow_imports():
        from pneumo.dataset.shard_reader import ShardReader
        from pneumo.dataset.table import SampleTable
        from pneumo.reporting.explore import cautions, page
        from pneumo.reporting.explore.analysis import analyze
        from pneumo.reporting.html.page import check_earlier, write

    check_earlier("--out", arguments.out, page.GENERATOR)
    reader = ShardReader(arguments.dataset, SampleTable.read(arguments.dataset))
    log_file.start(arguments.dataset, "explore", only_reads=True)
    analysis = analyze(reader, arguments.workers)
    for caution in cautions.find(analysis):
        log.warning("%s %s", caution.found, caution.action)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    shown = page.build(analysis, reader, pictures=arguments.pictures, seed=arguments.seed, today=today)
    write(arguments.out, shown)
    size = format_size(arguments.out.stat().st_size)
    sys.stdout.write(f"{arguments.out}: {counted(len(reader.table), 'image')}, {size}; open it in a browser\n")


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
