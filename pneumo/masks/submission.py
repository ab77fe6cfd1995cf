"""Write, check and read a submission: one row of run lengths for every image.

``submission.csv`` has the header ``ImageId,EncodedPixels`` and UTF-8 text with Unix line ends.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pneumo.masks import image_ids, rle
from pneumo.masks.annotations import ID, MASK, check_mask, read_rows
from pneumo.masks.image_ids import list_some
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_csv


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
    publish_csv(path, (ID, MASK), rows)


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
            f"images {what} in the submission: {list_some(image_ids)}",
            "every expected image once",
            "check the images and the list of expected ids",
        )
