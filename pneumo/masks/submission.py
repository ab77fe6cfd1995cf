"""Write, check and read a submission: one row of run lengths for every image.

``submission.csv`` has the header ``ImageId,EncodedPixels`` and UTF-8 text with Unix line ends.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pneumo.masks import csv_rows, image_ids, rle
from pneumo.masks.annotations import check_mask
from pneumo.masks.csv_rows import ID, MASK
from pneumo.masks.image_ids import strip_suffix
from pneumo.runtime.errors import UserError, counted, list_some
from pneumo.runtime.files import format_csv, publish_text


def write(
    path: Path,
    rows: Sequence[tuple[str, str]],
    shapes: Mapping[str, tuple[int, int]],
    expected: Sequence[str] | None = None,
    *,
    publish: Callable[[Path, str], None] = publish_text,
) -> None:
    """Check a submission and publish it in one step, its rows in the given order.

    Args:
        path: The CSV to write; an existing file is replaced.
        rows: Image id and run lengths.
        shapes: Rows and columns of each image.
        expected: The ids that it must have; those of ``shapes`` by default.
        publish: Writes a text in one step; ``publish_recorded`` for a file that a later call must know again.

    Raises:
        UserError: When ``validate`` raises; nothing is written then.
    """
    validate(rows, tuple(shapes) if expected is None else expected, shapes)
    publish(path, format_csv((ID, MASK), rows))


def validate(rows: Sequence[tuple[str, str]], expected: Sequence[str], shapes: Mapping[str, tuple[int, int]]) -> None:
    """Check that rows make a submission: every expected id once and no other, all run lengths canonical.

    Canonical means that decoding them to a mask and encoding that gives the same string: runs sorted, not
    overlapping, none touching the next, all within the image.

    Args:
        rows: Image id and run lengths.
        expected: The ids that it must have, in any order; a repeated one counts once.
        shapes: Rows and columns of each image. An image that is not in it can only be empty.

    Raises:
        UserError: At the first difference; names the ids.
    """
    counts = Counter(image_id for image_id, _ in rows)
    expected_ids = set(expected)
    _raise_if_any("listed more than once", [image_id for image_id, count in counts.items() if count > 1])
    _raise_if_any("missing", [image_id for image_id in dict.fromkeys(expected) if image_id not in counts])
    _raise_if_any("not expected", [image_id for image_id in counts if image_id not in expected_ids])
    for image_id, text in rows:
        if problem := image_ids.find_problem(image_id):
            raise UserError(
                f"the submission's image id {image_id[:60]!r} {problem}",
                "printable ids that are not formulas",
                "rename it",
            )
        if problem := _find_problem(text, shapes.get(image_id) or shapes.get(strip_suffix(image_id))):
            raise UserError(
                f"the submission's mask of image {image_id} is wrong: {problem}",
                "sorted runs within the image",
                "write the submission again",
            )


def read(path: Path) -> dict[str, str]:
    """Return the run lengths of each image id of a submission, in the file's order.

    Raises:
        UserError: When the file cannot be read, a mask is malformed, or an image has several rows.
    """
    masks: dict[str, str] = {}
    for row in csv_rows.read(path, (ID, MASK)):
        check_mask(path, row)
        if row.image_id in masks:
            raise UserError(
                f"{path} line {row.line}: a second row for image {row.image_id}",
                "one row for each image",
                "unite an image's runs in one row",
            )
        masks[row.image_id] = row.value
    return masks


def order_rows(masks: Mapping[str, str], expected: Sequence[str], warn: Callable[[str], None]) -> list[tuple[str, str]]:
    """Return (id, run lengths) of each expected id, in that order; ids without an image get an empty mask.

    The ids are returned as the list spells them; ``a.dcm`` there is the image ``a``.

    Args:
        masks: Run lengths by image id.
        expected: The ids that the submission must have.
        warn: Gets a message for each kind of difference between the ids.

    Raises:
        UserError: When none of the expected ids has a mask, which means that the file is the wrong one.
    """
    named = {spelled: spelled if spelled in masks else strip_suffix(spelled) for spelled in expected}
    missing = [spelled for spelled, image_id in named.items() if image_id not in masks]
    surplus = len(masks.keys() - set(named.values()))
    if len(missing) == len(named):
        raise UserError(
            f"none of {counted(len(expected), 'expected id')} is among {counted(len(masks), 'test image')}",
            "the sample submission that belongs to these images",
            "check --expected and the dataset's --test-dicom (stage 1 and stage 2 have different ids)",
        )
    if missing:
        warn(f"expected ids that have no image and get an empty mask: {list_some(missing)}")
    if surplus:
        warn(f"not expected and left out of the submission: {counted(surplus, 'test image')}")
    return [(spelled, masks.get(named[spelled], rle.EMPTY)) for spelled in expected]


def _find_problem(text: str, shape: tuple[int, int] | None) -> str:
    """Return why ``text`` is not an image's canonical run lengths; empty when it is."""
    if text == rle.EMPTY:
        return ""
    if shape is None:
        return "the image's size is unknown, so only an empty mask is valid"
    try:
        runs = rle.parse(text, shape[0] * shape[1])
    except rle.RleError as error:
        return str(error)
    return "" if rle.format_runs(rle.unite([runs])) == text else "the runs touch, or the spacing is not single spaces"


def _raise_if_any(what: str, image_ids: Sequence[str]) -> None:
    """Raise an error that lists images, when there are any."""
    if image_ids:
        raise UserError(
            f"images {what} in the submission: {list_some(image_ids)}",
            "every expected image once",
            "check the images and the list of expected ids",
        )
