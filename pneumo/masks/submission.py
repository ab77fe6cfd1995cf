"""Write, check, read and score a submission: one row of run lengths for every image.

``submission.csv`` has the header ``ImageId,EncodedPixels`` and UTF-8 text with Unix line ends. The score is the
competition's (SIIM-ACR Pneumothorax Segmentation, Kaggle 2019): the mean over images of the Dice coefficient, which
is 1 where truth and prediction are both empty.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pneumo.masks import image_ids, rle
from pneumo.masks.annotations import ID, MASK, check_mask, read_rows
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text

Missing = Literal["error", "empty", "ignore"]
"""What to do with images that only one of two files names."""


def write(
    path: Path,
    rows: Sequence[tuple[str, str]],
    shapes: Mapping[str, tuple[int, int]],
    expected: Sequence[str] | None = None,
) -> None:
    """Check a submission and publish it in one step, its rows in the given order.

    Args:
        path: Where it goes; a file already there is replaced.
        rows: Image id and run lengths.
        shapes: Rows and columns of each image.
        expected: The ids that must be there; those of ``shapes`` by default.

    Raises:
        UserError: When ``validate`` finds a fault; nothing is written then.
    """
    validate(rows, tuple(shapes) if expected is None else expected, shapes)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((ID, MASK))
    table.writerows(rows)
    publish_text(path, text.getvalue())


def validate(rows: Sequence[tuple[str, str]], expected: Sequence[str], shapes: Mapping[str, tuple[int, int]]) -> None:
    """Check that rows make a submission: every expected id once and no other, every mask in its canonical text.

    Canonical means that decoding the text to a mask and encoding that gives the same text: runs sorted, not
    overlapping, none touching the next, all within the image.

    Args:
        rows: Image id and run lengths.
        expected: The ids that must be there, in any order; a repeated one counts once.
        shapes: Rows and columns of each image. An image that is not in it can only be empty.

    Raises:
        UserError: At the first fault; names the ids.
    """
    counts = Counter(image_id for image_id, _ in rows)
    wanted = set(expected)
    _refuse("listed more than once", [image_id for image_id, count in counts.items() if count > 1])
    _refuse("missing", [image_id for image_id in dict.fromkeys(expected) if image_id not in counts])
    _refuse("not expected", [image_id for image_id in counts if image_id not in wanted])
    for image_id, text in rows:
        if fault := image_ids.validate(image_id):
            raise UserError(
                f"the submission's image id {image_id[:60]!r} {fault}", "printable ids that are no formula", "rename it"
            )
        fault = _fault(text, shapes.get(image_id))
        if fault:
            raise UserError(
                f"the submission's mask of image {image_id} is wrong: {fault}",
                "sorted runs within the image",
                "make the submission anew",
            )


def read(path: Path) -> dict[str, str]:
    """Return the run lengths of each image id of a submission, in the file's order.

    Raises:
        UserError: When the file cannot be read, a mask is malformed, or an image has several rows.
    """
    masks: dict[str, str] = {}
    for row in read_rows(path):
        check_mask(path, row)
        if row.image_id in masks:
            raise UserError(
                f"{path} line {row.line}: a second row for image {row.image_id}",
                "one row for each image",
                "unite an image's runs in one row",
            )
        masks[row.image_id] = row.value
    return masks


@dataclass(frozen=True)
class ImageScore:
    """How well one image's prediction meets its truth."""

    image_id: str
    dice: float
    """0 to 1; 1 when both masks are empty."""
    truth_area: int
    """Pixels."""
    predicted_area: int
    """Pixels."""


@dataclass(frozen=True)
class Summary:
    """The score of a submission and of its parts; nan where a part has no images."""

    dice: float
    """Mean over all images: the competition's figure."""
    dice_empty: float
    """Mean over the images whose truth is empty, which is the specificity: any pixel there costs the whole image."""
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
        """The score of a submission that finds nothing anywhere."""
        return 1 - self.positives / self.images if self.images else math.nan


def align(
    truth: Mapping[str, str], predicted: Mapping[str, str], missing: Missing = "error"
) -> tuple[dict[str, str], dict[str, str]]:
    """Return truth and prediction of the same images, in the truth's order.

    Args:
        truth: Image id -> run lengths.
        predicted: Image id -> run lengths.
        missing: ``"error"`` refuses images that only one side names; ``"empty"`` takes a missing prediction as
            empty; ``"ignore"`` leaves its image out. With both, predictions without a truth are left out: an
            unlabelled image is not a healthy one.

    Raises:
        UserError: When the sides differ and ``missing`` is ``"error"``, or no image is on both.
    """
    unpredicted = [image_id for image_id in truth if image_id not in predicted]
    unlabelled = [image_id for image_id in predicted if image_id not in truth]
    if len(unpredicted) == len(truth):
        raise UserError(
            f"no image in common: truth {_some(truth)}; submission {_some(predicted)}",
            "the same ids in both files",
            "check that the files belong together",
        )
    if missing == "error" and (unpredicted or unlabelled):
        raise UserError(
            f"images without a prediction: {_some(unpredicted)}; predictions without a truth: {_some(unlabelled)}",
            "the same ids in both files",
            "complete them, or choose what becomes of the rest with --missing empty or --missing ignore",
        )
    kept = [image_id for image_id in truth if missing == "empty" or image_id in predicted]
    return (
        {image_id: truth[image_id] for image_id in kept},
        {image_id: predicted.get(image_id, rle.EMPTY) for image_id in kept},
    )


def score(truth: Mapping[str, str], predicted: Mapping[str, str]) -> list[ImageScore]:
    """Return each image's Dice coefficient, from the run lengths alone, in the truth's order.

    Args:
        truth: Image id -> run lengths.
        predicted: The same ids -> run lengths (see ``align``).

    Raises:
        RleError: When a text is malformed.
    """
    assert truth.keys() == predicted.keys()
    return [_score_image(image_id, text, predicted[image_id]) for image_id, text in truth.items()]


def summarise(scores: Sequence[ImageScore]) -> Summary:
    """Return the mean score of all images, of the empty and the positive ones, and the quality of that decision."""
    positive = [image for image in scores if image.truth_area]
    empty = [image for image in scores if not image.truth_area]
    return Summary(
        dice=_mean(image.dice for image in scores),
        dice_empty=_mean(image.dice for image in empty),
        dice_positive=_mean(image.dice for image in positive),
        sensitivity=_mean(float(image.predicted_area > 0) for image in positive),
        specificity=_mean(float(image.predicted_area == 0) for image in empty),
        images=len(scores),
        positives=len(positive),
    )


def _score_image(image_id: str, truth: str, predicted: str) -> ImageScore:
    """Return 2 |P and G| / (|P| + |G|), or 1 when both are empty."""
    if truth == predicted == rle.EMPTY:
        return ImageScore(image_id, 1.0, 0, 0)
    inside, guessed = rle.parse(truth), rle.parse(predicted)
    truth_area, predicted_area = int(inside[:, 1].sum()), int(guessed[:, 1].sum())
    total = truth_area + predicted_area
    dice = 2 * rle.intersection(inside, guessed) / total if total else 1.0
    return ImageScore(image_id, dice, truth_area, predicted_area)


def _mean(values: Iterable[float]) -> float:
    """Return the mean, exactly summed so that the order of images does not matter; nan of nothing."""
    collected = list(values)
    return math.fsum(collected) / len(collected) if collected else math.nan


def _fault(text: str, shape: tuple[int, int] | None) -> str:
    """Say what keeps ``text`` from being an image's canonical mask; nothing when it is one."""
    if text == rle.EMPTY:
        return ""
    if shape is None:
        return "the image's size is not known, so only an empty mask can be right"
    try:
        runs = rle.parse(text, shape[0] * shape[1])
    except rle.RleError as error:
        return str(error)
    return "" if rle.format_runs(rle.unite([runs])) == text else "the runs touch, or the spacing is not single spaces"


def _refuse(what: str, image_ids: Sequence[str]) -> None:
    """Raise when there are images at fault."""
    if image_ids:
        raise UserError(
            f"images {what} in the submission: {_some(image_ids)}",
            "every expected image once",
            "check the images and the list of expected ids",
        )


def _some(image_ids: Iterable[str], most: int = 3) -> str:
    """Return the number of ids and the first few of them."""
    listed = list(image_ids)
    if not listed:
        return "none"
    more = ", ..." if len(listed) > most else ""
    return f"{len(listed)} ({', '.join(listed[:most])}{more})"
