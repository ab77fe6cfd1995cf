"""Write the report of a run, one self-contained page: scores, curves, subgroups, pictures, what it took.

    python job/report.py --run runs/NAME --dataset DATASET

Training writes it at its end. This command writes it at any time, also while folds are still trained, and disturbs
nothing. With the dataset it contains X-rays of patients: show it only where the dataset may be shown.
"""

import sys
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from pneumo.runtime import cli, log_file
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import format_size
from pneumo.runtime.files import check_target
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags


@config_dataclass
class Arguments:
    """Flags of job/report.py."""

    run: Path
    """Run directory, finished or not."""
    dataset: Path | None = None
    """The dataset that the run was trained on, for pictures, groups of images, and what is odd about them."""
    drains: Path | None = None
    """CSV with the columns ImageId and Drain, yes or no: which of the images that you have looked at show a chest drain
    or tube. The errors are then compared with and without one."""
    out: Path | None = None
    """HTML file to write; none given = RUN/report.html. An existing file is replaced only when it is such a page."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main(argv: Sequence[str]) -> None:
    """Read the run, and write the page."""
    arguments = cli.parse(Arguments, argv, prog="job/report.py", description=__doc__)
    with cli.slow_imports():
        from pneumo.dataset.shard_reader import ShardReader
        from pneumo.dataset.table import SampleTable
        from pneumo.masks import annotations
        from pneumo.reporting.html.page import check_earlier
        from pneumo.reporting.report.page import GENERATOR
        from pneumo.training import run_directory
        from pneumo.training.export import require_own
        from pneumo.training.run_report import write_report

    run = run_directory.load(arguments.run)
    log_file.start(run.path, "report", only_reads=True)
    out = arguments.out or run.report
    check_target(out)
    others = run_directory.written_names() - {run.report.name}
    read = {"--dataset": arguments.dataset, "--drains": arguments.drains}
    check_apart("--out", out, {**read, "--run": [run.path / name for name in sorted(others)]})
    check_earlier("--out", out, GENERATOR)
    reader = None
    if arguments.dataset is not None:
        reader = ShardReader(arguments.dataset, SampleTable.read(arguments.dataset))
        require_own(run, reader)
    drains = {} if arguments.drains is None else annotations.read_drains(arguments.drains)
    write_report(run, reader, out, drains=drains)
    sys.stdout.write(f"{out}: {format_size(out.stat().st_size)}; open it in a browser\n")


if __name__ == "__main__":
    cli.run(lambda: main(sys.argv[1:]))
