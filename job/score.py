"""Score a submission against the truth with the competition's metric: the mean Dice coefficient over images.

Usage:
    python job/score.py --truth train-rle.csv --submission submission.csv
    python job/score.py --truth train-rle.csv --submission submission.csv --out per_image.csv

Both files may be any of the competition's variants: with or without a header, ids with or without .dcm, several
rows for an image (they are united).
"""

import csv
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from pneumo.masks.annotations import ID, read_masks
from pneumo.masks.metric import ImageScore, Missing, Summary, align, score, summarise
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.files import check_target, publish_text


@config_dataclass
class Arguments:
    """What to score."""

    truth: Path
    """CSV of the true masks."""
    submission: Path
    """CSV of the predicted masks."""
    out: Path | None = None
    """CSV to write with each image's Dice coefficient (0 to 1) and areas (pixels)."""
    missing: Missing = "error"
    """Images that only one file names: error refuses; empty takes a missing prediction as empty; ignore leaves its
    image out. Predictions without a truth are left out with both."""


def main(arguments: Arguments) -> None:
    """Score, print the table, and write the images' figures where asked to."""
    if arguments.out is not None:
        check_target(arguments.out)
    truth = read_masks(arguments.truth).masks
    predicted = read_masks(arguments.submission).masks
    aligned = align(truth, predicted, arguments.missing)
    _tell_differences(truth.keys() - predicted.keys(), predicted.keys() - truth.keys(), arguments.missing)
    scores = score(*aligned)
    sys.stdout.write(table(summarise(scores)))
    if arguments.out is not None:
        publish_text(arguments.out, per_image(scores))


def table(summary: Summary) -> str:
    """Return the score and its parts as lines to read, an absent part as a dash."""
    negatives = summary.images - summary.positives
    figures = (
        ("Dice, all images", summary.dice, summary.images),
        ("Dice, no pneumothorax", summary.dice_empty, negatives),
        ("Dice, pneumothorax", summary.dice_positive, summary.positives),
        ("sensitivity", summary.sensitivity, summary.positives),
        ("specificity", summary.specificity, negatives),
        ("Dice of all empty masks", summary.dice_all_empty, summary.images),
    )
    lines = [f"{'':24}{'value':>8}{'images':>8}"]
    for name, value, images in figures:
        shown = "-" if math.isnan(value) else f"{value:.4f}"
        lines.append(f"{name:24}{shown:>8}{images:>8}")
    return "\n".join(lines) + "\n"


def per_image(scores: Sequence[ImageScore]) -> str:
    """Return the CSV of the images' figures."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((ID, "dice", "truth_area", "predicted_area"))
    rows.writerows((image.image_id, f"{image.dice:.6f}", image.truth_area, image.predicted_area) for image in scores)
    return text.getvalue()


def _tell_differences(unpredicted: set[str], unlabelled: set[str], missing: Missing) -> None:
    """Log what became of the images that only one file names."""
    if unpredicted:
        fate = "taken as empty" if missing == "empty" else "left out"
        log.warning("%d images without a prediction: %s", len(unpredicted), fate)
    if unlabelled:
        log.warning("%d predictions without a truth: left out", len(unlabelled))


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(Arguments, sys.argv[1:], prog="score.py", description=__doc__)))
