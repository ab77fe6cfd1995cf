"""The competition's metric (SIIM-ACR Pneumothorax Segmentation, Kaggle 2019): the mean Dice coefficient over images.

An image's Dice coefficient is 1 where truth and prediction are both empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pneumo.masks import rle
from pneumo.masks.csv_rows import ID
from pneumo.runtime.errors import UserError, list_some
from pneumo.runtime.files import publish_csv

Missing = Literal["error", "empty", "ignore"]
"""What to do with images that are in only one of two files."""

SCORE_COLUMNS = (ID, "dice", "truth_area", "predicted_area")
"""Header of the CSV of each image's score."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageScores:
    """The Dice coefficients of n images."""

    image_id: tuple[str, ...]
    dice: npt.NDArray[np.float64]
    """(n,) 0 to 1; 1 when both masks are empty."""
    truth_area: npt.NDArray[np.int64]
    """(n,) pixels."""
    predicted_area: npt.NDArray[np.int64]
    """(n,) pixels."""

    def summarize(self) -> "Summary":
        """Return the means of all images and of the empty and the positive ones."""
        return summarize(self.truth_area > 0, self.dice, self.predicted_area > 0)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The score of a submission and of its subsets; None where a subset has no images."""

    dice: float | None
    """Mean over all images: the competition's score."""
    dice_empty: float | None
    """Mean over the images whose truth is empty, which is the specificity: any pixel there makes an image's Dice 0."""
    dice_positive: float | None
    """Mean over the images with a pneumothorax."""
    sensitivity: float | None
    """Fraction of the images with a pneumothorax whose prediction is not empty."""
    specificity: float | None
    """Fraction of the images without one whose prediction is empty."""
    images: int
    positives: int
    """Images with a pneumothorax."""

    @property
    def dice_all_empty(self) -> float | None:
        """The score of a submission of empty masks."""
        return 1 - self.positives / self.images if self.images else None


def align(
    truth: Mapping[str, str], predicted: Mapping[str, str], missing: Missing = "error"
) -> tuple[dict[str, str], dict[str, str]]:
    """Return truth and prediction of the same images, in the truth's order.

    Args:
        truth: Image id -> run lengths.
        predicted: Image id -> run lengths.
        missing: ``"error"`` refuses images that are on one side only; ``"empty"`` takes a missing prediction as
            empty; ``"ignore"`` leaves its image out. With both, predictions without a truth are left out: an
            unlabeled image is not a negative one.

    Raises:
        UserError: When the sides differ and ``missing`` is ``"error"``, or no image is on both.
    """
    unpredicted = [image_id for image_id in truth if image_id not in predicted]
    unlabeled = [image_id for image_id in predicted if image_id not in truth]
    if len(unpredicted) == len(truth):
        raise UserError(
            f"no image in common: truth {list_some(truth)}; submission {list_some(predicted)}",
            "the same ids in both files",
            "check that the files belong together",
        )
    if missing == "error" and (unpredicted or unlabeled):
        raise UserError(
            f"images without a prediction: {list_some(unpredicted)}; "
            f"predictions without a truth: {list_some(unlabeled)}",
            "the same ids in both files",
            "complete them, or choose how to treat the rest with --missing empty or --missing ignore",
        )
    kept = [image_id for image_id in truth if missing == "empty" or image_id in predicted]
    return (
        {image_id: truth[image_id] for image_id in kept},
        {image_id: predicted.get(image_id, rle.EMPTY) for image_id in kept},
    )


def score(truth: Mapping[str, str], predicted: Mapping[str, str]) -> ImageScores:
    """Return each image's Dice coefficient, from the run lengths, in the truth's order.

    Args:
        truth: Image id -> run lengths.
        predicted: The same ids -> run lengths (see ``align``).

    Raises:
        RleError: When run lengths are malformed.
    """
    assert truth.keys() == predicted.keys()
    images = [_score_image(mask, predicted[image_id]) for image_id, mask in truth.items()]
    dice, truth_area, predicted_area = zip(*images, strict=True) if images else ((), (), ())
    return ImageScores(
        image_id=tuple(truth),
        dice=np.array(dice, np.float64),
        truth_area=np.array(truth_area, np.int64),
        predicted_area=np.array(predicted_area, np.int64),
    )


def summarize(
    positive: npt.NDArray[np.bool_], dice: npt.NDArray[np.float64], predicted_positive: npt.NDArray[np.bool_]
) -> Summary:
    """Return the mean Dice of all, of empty and of positive images, and sensitivity and specificity.

    Args:
        positive: (n,) whether the true mask has a pixel.
        dice: (n,) each image's Dice.
        predicted_positive: (n,) whether the predicted mask has a pixel.
    """
    return Summary(
        dice=_mean(dice),
        dice_empty=_mean(dice[~positive]),
        dice_positive=_mean(dice[positive]),
        sensitivity=_mean(predicted_positive[positive]),
        specificity=_mean(~predicted_positive[~positive]),
        images=len(positive),
        positives=int(positive.sum()),
    )


def format_summary(summary: Summary) -> str:
    """Return the score and its parts as a table to read, a part without images as a dash."""
    negatives = summary.images - summary.positives
    metrics = (
        ("Dice, all images", summary.dice, summary.images),
        ("Dice, no pneumothorax", summary.dice_empty, negatives),
        ("Dice, pneumothorax", summary.dice_positive, summary.positives),
        ("sensitivity", summary.sensitivity, summary.positives),
        ("specificity", summary.specificity, negatives),
        ("Dice of all empty masks", summary.dice_all_empty, summary.images),
    )
    lines = [f"{'':24}{'value':>8}{'images':>8}"]
    for name, value, images in metrics:
        shown = "-" if value is None else f"{value:.4f}"
        lines.append(f"{name:24}{shown:>8}{images:>8}")
    return "\n".join(lines) + "\n"


def write_scores(path: Path, scores: ImageScores) -> None:
    """Publish a CSV of each image's Dice coefficient and areas."""
    dice = [f"{value:.6f}" for value in scores.dice]
    rows = zip(scores.image_id, dice, scores.truth_area, scores.predicted_area, strict=True)
    publish_csv(path, SCORE_COLUMNS, rows)


def _score_image(truth: str, predicted: str) -> tuple[float, int, int]:
    """Return 2 |P and G| / (|P| + |G|), or 1 when both are empty, and the areas |G| and |P|."""
    if truth == predicted == rle.EMPTY:
        return 1.0, 0, 0
    truth_runs, predicted_runs = rle.parse(truth), rle.parse(predicted)
    truth_area, predicted_area = int(truth_runs[:, 1].sum()), int(predicted_runs[:, 1].sum())
    total = truth_area + predicted_area
    dice = 2 * rle.intersection(truth_runs, predicted_runs) / total if total else 1.0
    return dice, truth_area, predicted_area


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
