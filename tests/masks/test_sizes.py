"""Masks are told from those of images of another size, with the images' sizes and without."""

from pathlib import Path

import numpy as np
import pytest

from pneumo.masks import rle, sizes
from pneumo.runtime.errors import UserError

FILE = Path("submission.csv")


def drawn(rows: int, columns: int) -> str:
    """Return the run lengths of an ellipse in the middle of an image."""
    y, x = np.mgrid[:rows, :columns] / np.array([rows, columns]).reshape(2, 1, 1)
    return rle.encode(((x - 0.5) / 0.2) ** 2 + ((y - 0.5) / 0.3) ** 2 < 1)


def absolute(text: str) -> str:
    return " ".join(f"{start} {length}" for start, length in rle.parse(text).tolist())


def test_masks_up_to_the_last_pixel_fit_and_one_pixel_more_does_not() -> None:
    shapes = {"a": (10, 20), "b": (1025, 1024)}
    fitting = {"a": "199 1", "b": f"{1025 * 1024 - 9} 9", "empty": "-1", "unknown": "9999999 1"}
    sizes.check_ends(FILE, fitting, shapes)
    with pytest.raises(UserError) as caught:
        sizes.check_ends(FILE, fitting | {"a": "199 2", "b": f"{1025 * 1024 - 9} 10"}, shapes)
    assert caught.value.found == (
        "submission.csv: 2 of 2 masks beyond the end of the image, worst a: it ends at pixel 201 of 200 (10 x 20)"
    )


def test_the_likely_cause_is_named() -> None:
    text = absolute(drawn(200, 200))
    with pytest.raises(
        UserError,
        match=r"worst a: .*; its numbers seem to be absolute starts, not gaps; .*; write each start as the gap to",
    ):
        sizes.check_ends(FILE, {"a": text}, {"a": (200, 200)})


def test_masks_of_another_size_within_the_image_are_described() -> None:
    masks = {"a": drawn(512, 512), "b": drawn(400, 400), "c": drawn(1024, 1024), "d": "-1"}
    (line,) = sizes.describe_misfits(FILE, masks, dict.fromkeys(masks, (1024, 1024)))
    assert line.startswith("submission.csv: 2 of 3 masks probably not of the image's size, the largest a: its")
    assert not list(sizes.describe_misfits(FILE, masks, {"a": (512, 512), "c": (1024, 1024)}))


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        (drawn(1024, 1024), drawn(1024, 1024), ""),
        (drawn(600, 1000), "-1", ""),
        ("-1", "-1", ""),
        ("0 9", f"{2**20 - 1} 1", ""),
        (
            "0 9",
            f"{2**20} 1",
            "1 prediction ends beyond an image of SIIM-ACR, and no true mask does, worst x: it",
        ),
        (f"{2**21} 9", f"{2**21} 9", ""),
        (f"{2**21} 9", f"{2**21} 10", "1 prediction ends beyond pixel 2097161, the last of all true masks, worst x"),
        (drawn(1024, 1024), drawn(512, 512), "another size than the true mask, the largest x: runs 51"),
        (drawn(512, 512), drawn(1024, 1024), "another size than the true mask, the largest x: runs 102"),
    ],
    ids=["equal", "missed", "empty", "last pixel", "beyond SIIM", "large", "beyond the truth", "half", "double"],
)
def test_without_sizes_the_files_are_compared(truth: str, predicted: str, expected: str) -> None:
    lines = list(sizes.compare({"x": truth}, {"x": predicted}))
    assert len(lines) == bool(expected)
    assert expected in "".join(lines)
