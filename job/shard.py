"""Turn DICOM, PNG or JPEG files into a dataset of shards.

    python job/shard.py --dicom train/ --test-dicom test/ --masks train-rle.csv --patients patients.csv --out DATASET
    python job/shard.py --dicom train/ --masks train-rle.csv --out DATASET --task 3/16     # one of 16 tasks

Tasks of an array job write shards side by side; the one that ends last finishes the dataset. An interrupted build is
resumed by the same command; a finished dataset is kept.
"""

import sys
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from pneumo.dataset import paths, workers
from pneumo.dataset.options import PRIVACY_NOTE, BuildInputs, BuildOptions
from pneumo.runtime.cli import parse, run, slow_imports
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags

RENAMED_FLAGS = {"--folds": "--num-folds", "--verify": "job/verify.py --dataset"}
"""Flags of version 0.1, and what replaced them; CHANGELOG.md has the same table."""

MISTAKEN_FLAGS = {"--dataset": "--out", "--test": "--test-dicom", "--images": "--dicom", "--train": "--dicom"}
"""Flags that people try, and what they mean."""


@config_dataclass
class Arguments(BuildOptions, BuildInputs):
    """Flags of job/shard.py."""

    out: Path
    """Directory of the dataset."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main(arguments: Arguments) -> None:
    """Build, and print how many files became samples."""
    check_apart(
        "--out",
        arguments.out,
        {
            "--dicom": arguments.dicom,
            "--test-dicom": arguments.test_dicom,
            "--masks": arguments.masks,
            "--patients": arguments.patients,
        },
        writes=paths.WRITTEN,
        inside=("--dicom", "--test-dicom"),
    )
    workers.start_server()
    with slow_imports():
        import pyarrow as pa

        from pneumo.dataset import messages, oddities
        from pneumo.dataset.build import build
        from pneumo.dataset.table import SampleTable

    # Arrow's own allocator keeps what it frees: at 10,000 images half of what making the table takes.
    pa.set_memory_pool(pa.system_memory_pool())
    if arguments.masks is None:
        log.warning("no --masks: the images of --dicom have no label and become test images")
    manifest = build(arguments, arguments.out, arguments, log_as="shard")
    if manifest is not None:
        for line in oddities.describe(SampleTable.read(arguments.out)):
            log.warning("%s", line)
        sys.stdout.write(messages.summary(arguments.out, manifest))


def read_arguments(argv: Sequence[str]) -> Arguments:
    """Parse the command line."""
    description = f"Turn DICOM, PNG or JPEG files into a dataset. {PRIVACY_NOTE}"
    return parse(
        Arguments, argv, prog="job/shard.py", description=description, renamed=RENAMED_FLAGS, mistaken=MISTAKEN_FLAGS
    )


if __name__ == "__main__":
    run(lambda: main(read_arguments(sys.argv[1:])), resumes=True)
