"""Score a submission against the truth with the competition's metric: the mean Dice coefficient over images.

Usage:
    python job/score.py --truth train-rle.csv --submission submission.csv
    python job/score.py --truth train-rle.csv --submission submission.csv --out per_image.csv

Both files may be any of the competition's variants: with or without a header, ids with or without .dcm, several
rows for an image (they are united).
"""

import sys
from pathlib import Path

from pneumo.masks.annotations import read_masks
from pneumo.masks.metric import Missing, align, format_summary, score, write_scores
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.files import check_target
from pneumo.runtime.outputs import check_apart


@config_dataclass
class Arguments:
    """Flags of job/score.py."""

    truth: Path
    """CSV of the true masks."""
    submission: Path
    """CSV of the predicted masks."""
    out: Path | None = None
    """CSV to write with each image's Dice coefficient (0 to 1) and areas (pixels)."""
    missing: Missing = "error"
    """Images that are in only one file: error refuses; empty takes a missing prediction as empty; ignore leaves its
    image out. Predictions without a truth are left out with both."""


def main(arguments: Arguments) -> None:
    """Score, print the summary, and write each image's score if there is an ``out``."""
    if arguments.out is not None:
        check_target(arguments.out)
        check_apart("--out", arguments.out, {"--truth": arguments.truth, "--submission": arguments.submission})
    truth = read_masks(arguments.truth)
    predicted = read_masks(arguments.submission)
    aligned = align(truth, predicted, arguments.missing)
    _log_differences(truth.keys() - predicted.keys(), predicted.keys() - truth.keys(), arguments.missing)
    scores = score(*aligned)
    sys.stdout.write(format_summary(scores.summarize()))
    if arguments.out is not None:
        write_scores(arguments.out, scores)


def _log_differences(unpredicted: set[str], unlabeled: set[str], missing: Missing) -> None:
    """Log how images that are in only one file are treated."""
    if unpredicted:
        treatment = "taken as empty" if missing == "empty" else "left out"
        log.warning("%d images without a prediction: %s", len(unpredicted), treatment)
    if unlabeled:
        log.warning("%d predictions without a truth: left out", len(unlabeled))


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(Arguments, sys.argv[1:], prog="job/score.py", description=__doc__)))
