"""Read the CSV files that users bring: masks as run lengths, lists of images, patients, notes on drains.

The competition's ids may have ``.dcm`` or ``.png`` appended, and an image may have several rows.
"""

from pathlib import Path

from pneumo.masks import csv_rows, rle
from pneumo.masks.csv_rows import DRAIN, ID, MASK, PATIENT, Row
from pneumo.masks.image_ids import strip_suffix
from pneumo.runtime.errors import UserError

_SPREADSHEET_CELL = (32_767, 32_766)
"""Most characters that Excel keeps in a cell; one less where the cell began with a space, which is removed here."""

_NO_VALUE = {"", "nan"}
"""How programs write that a cell has no value."""


def read_masks(path: Path) -> dict[str, str]:
    """Read the masks of a CSV file and unite the rows of each image.

    Returns:
        Run lengths by image id, in the order in which the file first names the images: as written for an image of one
        row, else of the union of its rows; ``"-1"`` for an empty mask.

    Raises:
        UserError: When the file cannot be read, a row is not an id with run lengths, or one image has both ``-1`` and
            a mask; names the file and the line.
    """
    masks: dict[str, str] = {}
    further: dict[str, list[str]] = {}
    for row in csv_rows.read(path, (ID, MASK)):
        check_mask(path, row)
        image_id = strip_suffix(row.image_id)
        # One object for all empty masks: of a million rows most are.
        mask = rle.EMPTY if row.value == rle.EMPTY else row.value
        known = masks.setdefault(image_id, mask)
        if (known == rle.EMPTY) != (mask == rle.EMPTY):
            raise UserError(
                f"{path} line {row.line}: image {row.image_id} has both {rle.EMPTY} and a mask",
                f"either one row of {rle.EMPTY} or rows of run lengths for an image",
                "remove the rows that are wrong",
            )
        # Not a comparison: a mask that is listed twice is united with itself, like any two rows of an image.
        if known is not mask:
            further.setdefault(image_id, [known]).append(mask)
    masks.update((image_id, rle.union(rows)) for image_id, rows in further.items())
    return masks


def read_ids(path: Path) -> list[str]:
    """Return the image ids of an expected or sample submission, as written, in first-seen order, duplicates dropped.

    Its masks are ignored: in the competition's first sample submission they are made up.

    Raises:
        UserError: When the file cannot be read or names no image.
    """
    return list(dict.fromkeys(row.image_id for row in csv_rows.read(path, (ID, ID))))


def read_patients(path: Path) -> dict[str, str]:
    """Return the patient id of each image id of a CSV file with the columns ``ImageId`` and ``PatientId``.

    Raises:
        UserError: When the file cannot be read, a patient id is blank, or one image has two patients.
    """
    patients: dict[str, str] = {}
    for row in csv_rows.read_with_header(path, (ID, PATIENT)):
        if not row.value:
            raise UserError(
                f"{path} line {row.line}: no patient id for image {row.image_id}",
                "a patient id in every row",
                "fill it in, or remove the row",
            )
        if csv_rows.is_spreadsheet_number(row.value):
            raise UserError(
                f"{path} line {row.line}: the patient id of image {row.image_id} is a number that a "
                "spreadsheet has rounded",
                "patient ids with all their digits",
                "export the CSV again without opening it in a spreadsheet, or import that column as text",
            )
        image_id = strip_suffix(row.image_id)
        # The message must not have the patient ids: others may read the log.
        if patients.setdefault(image_id, row.value) != row.value:
            raise UserError(
                f"{path} line {row.line}: a second patient for image {image_id}",
                "one patient for each image",
                "remove the row that is wrong",
            )
    return patients


def read_drains(path: Path) -> dict[str, bool]:
    """Return whether images show a chest drain, of a CSV file with the columns ``ImageId`` and ``Drain``, yes or no.

    Raises:
        UserError: When the file cannot be read, a cell is neither yes nor no, or one image has both.
    """
    drains: dict[str, bool] = {}
    for row in csv_rows.read_with_header(path, (ID, DRAIN)):
        image_id, value = strip_suffix(row.image_id), row.value.lower()
        if value not in ("yes", "no"):
            raise UserError(
                f"{path} line {row.line}: {row.value!r} for image {image_id}",
                "yes or no in the column Drain",
                "correct it, or remove the rows of images that nobody has looked at",
            )
        if drains.setdefault(image_id, value == "yes") != (value == "yes"):
            raise UserError(
                f"{path} line {row.line}: both yes and no for image {image_id}",
                "one of them for each image",
                "remove the row that is wrong",
            )
    return drains


def check_mask(path: Path, row: Row) -> None:
    """Check that a row's mask is a run-length encoding.

    Raises:
        UserError: When it is not; names the file and the line.
    """
    if len(row.value) in _SPREADSHEET_CELL:
        raise UserError(
            f"{path} line {row.line}: the mask of image {row.image_id} has {len(row.value):,} characters, at which a "
            "spreadsheet has cut it",
            "whole run lengths",
            "export the CSV again without opening it in a spreadsheet; if the mask is whole, divide it into two rows",
        )
    if row.value.casefold() in _NO_VALUE:
        raise UserError(
            f"{path} line {row.line}: image {row.image_id} has no mask, but an empty value",
            f"pairs of gap and length, or {rle.EMPTY}",
            f"write {rle.EMPTY} where there is no pneumothorax, and remove the rows of images that nobody has labeled",
        )
    try:
        rle.parse(row.value)
    except rle.RleError as error:
        raise UserError(
            f"{path} line {row.line}: the mask of image {row.image_id} is malformed: {error}",
            f"pairs of gap and length, or {rle.EMPTY}",
            "correct or remove the row",
        ) from error
