"""Score a submission against the truth with the competition's metric: the mean Dice coefficient over images.

Usage:
    python job/score.py --truth train-rle.csv --submission submission.csv
    python job/score.py --truth train-rle.csv --submission submission.csv --out per_image.csv
    python job/score.py --truth train-rle.csv --submission submission.csv --dataset DATASET

Both files may be any of the competition's variants: with or without a header, ids with or without .dcm, several
rows for an image (they are united). Run lengths do not tell the size of their image: with the dataset of the images,
masks that do not fit are found; without it, what the two files tell of each other is said.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from pneumo.masks import sizes
from pneumo.masks.annotations import read_masks
from pneumo.masks.metric import SCORE_COLUMNS, Missing, align, format_summary, score, write_scores
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted, list_some
from pneumo.runtime.files import check_target
from pneumo.runtime.outputs import check_apart, check_earlier_csv
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags


@config_dataclass
class Arguments:
    """Flags of job/score.py."""

    truth: Path
    """CSV of the true masks."""
    submission: Path
    """CSV of the predicted masks."""
    dataset: Path | None = None
    """Dataset of the images: masks that end beyond their image are refused (exit code 2)."""
    out: Path | None = None
    """CSV to write with each image's Dice coefficient (0 to 1) and areas (pixels). An existing file is replaced only
    when it is such a CSV."""
    missing: Missing = "error"
    """Images that are in only one file: error refuses; empty takes a missing prediction as empty; ignore leaves its
    image out. Predictions without a truth are left out with both."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main(arguments: Arguments) -> None:
    """Score, print the summary, and write each image's score if there is an ``out``."""
    if arguments.out is not None:
        check_target(arguments.out)
        check_apart("--out", arguments.out, {"--truth": arguments.truth, "--submission": arguments.submission})
        check_earlier_csv("--out", arguments.out, SCORE_COLUMNS)
    truth = read_masks(arguments.truth)
    predicted = read_masks(arguments.submission)
    aligned = align(truth, predicted, arguments.missing)
    _log_differences(truth.keys() - predicted.keys(), predicted.keys() - truth.keys(), arguments.missing)
    for line in sizes.compare(*aligned) if arguments.dataset is None else _check_sizes(arguments, *aligned):
        log.warning("%s", line)
    scores = score(*aligned)
    sys.stdout.write(format_summary(scores.summarize()))
    if arguments.out is not None:
        write_scores(arguments.out, scores)


def _check_sizes(arguments: Arguments, truth: Mapping[str, str], predicted: Mapping[str, str]) -> Iterator[str]:
    """Yield what is odd about masks of images whose sizes are known.

    Raises:
        UserError: When a mask ends beyond its image, or the dataset has none of the images.
    """
    from pneumo.dataset.table import SampleTable  # slow to import

    assert arguments.dataset is not None
    table = SampleTable.read(arguments.dataset)
    shapes = table.shapes(table.select("test")) | table.shapes(table.select("train"))
    unknown = [image_id for image_id in truth if image_id not in shapes]
    if len(unknown) == len(truth):
        raise UserError(
            f"{arguments.dataset} has none of {counted(len(truth), 'image')}, such as {unknown[0]}",
            "the dataset of the images",
            "check --dataset, or leave it out",
        )
    if unknown:
        yield f"images that are not in {arguments.dataset}, and of unknown size: {list_some(unknown)}"
    for path, masks in ((arguments.truth, truth), (arguments.submission, predicted)):
        sizes.check_ends(path, masks, shapes)
        yield from sizes.describe_misfits(path, masks, shapes)


def _log_differences(unpredicted: set[str], unlabeled: set[str], missing: Missing) -> None:
    """Log how images that are in only one file are treated."""
    if unpredicted:
        treatment = "taken as empty" if missing == "empty" else "left out"
        log.warning("%s without a prediction: %s", counted(len(unpredicted), "image"), treatment)
    if unlabeled:
        log.warning("%s without a truth: left out", counted(len(unlabeled), "prediction"))


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(Arguments, sys.argv[1:], prog="job/score.py", description=__doc__)))
