"""Turn DICOM files into a dataset of shards.

    python job/shard.py --dicom train/ --test-dicom test/ --masks train-rle.csv --patients patients.csv --out DATASET
    python job/shard.py ... --task 3/16     # one of 16 tasks of an array job; whichever ends last finishes
    python job/shard.py --verify DATASET    # is every bit of it what was written? 0 = yes, 2 = no, naming what is not

An interrupted build goes on when the same command is started again; a finished dataset is kept.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pneumo.dataset.build import Inputs, Options, build
from pneumo.dataset.limits import Limits
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.verify import verify
from pneumo.dicom.attributes import LEAVES
from pneumo.runtime import checks
from pneumo.runtime.cli import parse, run
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Every flag of the command."""

    dicom: Path
    """Directory of the training DICOMs, searched recursively, any file name. Without --masks: of test images."""
    test_dicom: Path | None = None
    """Directory of DICOMs without labels, to predict."""
    masks: Path | None = None
    """CSV of image ids and run-length encoded masks, in any of the competition's variants."""
    patients: Path | None = None
    """CSV of ImageId,PatientId that keeps a patient's images in one fold. Without it the DICOMs' PatientID does."""
    out: Path
    """Directory of the dataset."""
    folds: int = 5
    """Number of folds (2 to 127). Another number on a finished dataset rewrites its table, not its shards."""
    seed: int = 0
    """Seed of the fold assignment."""
    workers: int = field(default_factory=available_cores)
    """Worker processes."""
    task: str = "0/1"
    """I/N: write every N-th shard, beginning with the I-th, counted from 0."""
    max_quarantined: float = Options.max_quarantined
    """Percent of the files that may be quarantined; with more, exit code 2, and the dataset is not published."""
    time_limit: float = Limits().seconds
    """Seconds that one file may take to read; then it is quarantined."""
    memory_limit: float = Limits().gib
    """GiB of memory that one file may take to read."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        checks.within(
            self,
            folds=(2, 127),
            seed=(0, checks.LARGEST_SEED),
            workers=(1, checks.MOST_WORKERS),
            max_quarantined=(0, 100),
            time_limit=(0.1, 86_400),
            memory_limit=(0.01, 1024),
        )


@dataclass(frozen=True, kw_only=True)
class Check:
    """Flags of the command when it checks a finished dataset."""

    verify: Path
    """Directory of the dataset: read all of its shards and name every shard and sample that is not what was written."""
    workers: int = field(default_factory=available_cores)
    """Threads that read."""

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        checks.within(self, workers=(1, checks.MOST_WORKERS))


def parse_task(text: str) -> tuple[int, int]:
    """Return (I, N) of ``I/N``."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise UserError(f"--task {text}", "I/N with I from 0 to N - 1, such as 0/4", "correct --task")
    return int(found[1]), int(found[2])


def summary(out: Path, manifest: Manifest) -> str:
    """Return the closing lines: where every file went, and what the dataset holds."""
    return (
        f"{manifest.found} files found = {manifest.samples} samples + {manifest.quarantined} quarantined"
        f" + {manifest.unlabelled} unlabelled + {manifest.merged} merged duplicates\n"
        f"{manifest.train} training images ({manifest.positive} positive, {manifest.patients} patients by"
        f" {manifest.grouped_by}, {manifest.folds} folds), {manifest.test} test images,"
        f" {manifest.shards} shards; {manifest.missing} ids without a file\n"
        f"dataset: {out}\n"
    )


def main(arguments: Arguments | Check) -> int | None:
    """Build, and say what came of it; or check what was built."""
    if isinstance(arguments, Check):
        return verify(arguments.verify, arguments.workers)
    task, tasks = parse_task(arguments.task)
    inputs = Inputs(
        dicom=arguments.dicom,
        test_dicom=arguments.test_dicom,
        masks=arguments.masks,
        patients=arguments.patients,
    )
    options = Options(
        folds=arguments.folds,
        seed=arguments.seed,
        workers=arguments.workers,
        task=task,
        tasks=tasks,
        max_quarantined=arguments.max_quarantined,
        limits=Limits(arguments.time_limit, arguments.memory_limit),
    )
    manifest = build(inputs, arguments.out, options)
    if manifest is not None:
        sys.stdout.write(summary(arguments.out, manifest))
    return None


def read_arguments(argv: Sequence[str]) -> Arguments | Check:
    """Parse the command line."""
    checks = any(word.partition("=")[0] == "--verify" for word in argv)
    description = f"Turn DICOM files into a dataset, or check one: --verify DATASET. {LEAVES}"
    if checks:
        return parse(Check, argv, prog="job/shard.py", description=description)
    return parse(Arguments, argv, prog="job/shard.py", description=description)


if __name__ == "__main__":
    run(lambda: main(read_arguments(sys.argv[1:])))
