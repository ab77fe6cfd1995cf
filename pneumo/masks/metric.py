"""The competition's metric (SIIM-ACR Pneumothorax Segmentation, Kaggle 2019): the mean Dice coefficient over images.

An image's Dice coefficient is 1 where truth and prediction are both empty.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pneumo.masks import rle
from pneumo.masks.annotations import ID
from pneumo.masks.image_ids import list_some
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_csv

Missing = Literal["error", "empty", "ignore"]
"""What to do with images that are in only one of two files."""


@dataclass(frozen=True)
class ImageScore:
    """The Dice coefficient of one image."""

    image_id: str
    dice: float
    """0 to 1; 1 when both masks are empty."""
    truth_area: int
    """Pixels."""
    predicted_area: int
    """Pixels."""


@dataclass(frozen=True)
class Summary:
    """The score of a submission and of its subsets; nan where a subset has no images."""

    dice: float
    """Mean over all images: the competition's score."""
    dice_empty: float
    """Mean over the images whose truth is empty, which is the specificity: any pixel there makes an image's Dice 0."""
    dice_positive: float
    """Mean over the images with a pneumothorax."""
    sensitivity: float
    """Share of the images with a pneumothorax whose prediction is not empty."""
    specificity: float
    """Share of the images without one whose prediction is empty."""
    images: int
    positives: int
    """Images with a pneumothorax."""

    @property
    def dice_all_empty(self) -> float:
        """The score of a submission of empty masks."""
        return 1 - self.positives / self.images if self.images else math.nan


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


def score(truth: Mapping[str, str], predicted: Mapping[str, str]) -> list[ImageScore]:
    """Return each image's Dice coefficient, from the run lengths, in the truth's order.

    Args:
        truth: Image id -> run lengths.
        predicted: The same ids -> run lengths (see ``align``).

    Raises:
        RleError: When run lengths are malformed.
    """
    assert truth.keys() == predicted.keys()
    return [_score_image(image_id, mask, predicted[image_id]) for image_id, mask in truth.items()]


def summarize(scores: Sequence[ImageScore]) -> Summary:
    """Summarize a submission's scores; see ``summarize_images``."""
    return summarize_images([(s.dice, s.truth_area > 0, s.predicted_area > 0) for s in scores])


def summarize_images(images: Sequence[tuple[float, bool, bool]]) -> Summary:
    """Return the mean score of all, empty and positive images, and the sensitivity and specificity of presence.

    Args:
        images: The Dice coefficient of each, whether its true mask has a pixel, and whether the predicted one has.
    """
    empty, positive = ([image for image in images if image[1] is kind] for kind in (False, True))
    return Summary(
        dice=_mean(dice for dice, _, _ in images),
        dice_empty=_mean(dice for dice, _, _ in empty),
        dice_positive=_mean(dice for dice, _, _ in positive),
        sensitivity=_mean(float(predicted) for _, _, predicted in positive),
        specificity=_mean(float(not predicted) for _, _, predicted in empty),
        images=len(images),
        positives=len(positive),
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
        shown = "-" if math.isnan(value) else f"{value:.4f}"
        lines.append(f"{name:24}{shown:>8}{images:>8}")
    return "\n".join(lines) + "\n"


def write_scores(path: Path, scores: Sequence[ImageScore]) -> None:
    """Publish a CSV of each image's Dice coefficient and areas."""
    rows = [(image.image_id, f"{image.dice:.6f}", image.truth_area, image.predicted_area) for image in scores]
    publish_csv(path, (ID, "dice", "truth_area", "predicted_area"), rows)


def _score_image(image_id: str, truth: str, predicted: str) -> ImageScore:
    """Return 2 |P and G| / (|P| + |G|), or 1 when both are empty."""
    if truth == predicted == rle.EMPTY:
        return ImageScore(image_id, 1.0, 0, 0)
    truth_runs, predicted_runs = rle.parse(truth), rle.parse(predicted)
    truth_area, predicted_area = int(truth_runs[:, 1].sum()), int(predicted_runs[:, 1].sum())
    total = truth_area + predicted_area
    dice = 2 * rle.intersection(truth_runs, predicted_runs) / total if total else 1.0
    return ImageScore(image_id, dice, truth_area, predicted_area)


def _mean(values: Iterable[float]) -> float:
    """Return the mean, summed exactly so that the order of images does not matter; nan when there are none."""
    collected = list(values)
    return math.fsum(collected) / len(collected) if collected else math.nan
