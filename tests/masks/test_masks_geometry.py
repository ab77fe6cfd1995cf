"""Masks of another size, order or kind of numbers are told from masks of the image."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumo.masks import annotations, geometry, rle


def crescent(rows: int, columns: int) -> np.ndarray:
    """Return a crescent at the side of a lung, two runs in some of its columns."""
    y, x = np.mgrid[:rows, :columns] / np.array([rows, columns]).reshape(2, 1, 1)
    outer = ((x - 0.3) / 0.22) ** 2 + ((y - 0.4) / 0.3) ** 2 < 1
    inner = ((x - 0.35) / 0.2) ** 2 + ((y - 0.42) / 0.27) ** 2 < 1
    return (outer & ~inner).astype(np.uint8)


def absolute(mask: np.ndarray) -> str:
    return " ".join(f"{start} {length}" for start, length in rle.parse(rle.encode(mask)).tolist())


@pytest.mark.parametrize("size", [(64, 64), (512, 400), (1024, 1024), (3000, 2500)])
def test_masks_of_the_image_are_right(size: tuple[int, int]) -> None:
    assert geometry.find_problem(rle.encode(crescent(*size)), *size) == ""


@pytest.mark.parametrize("bend", [-3e-4, 0, 1e-4, 3e-4, 1e-3])
@pytest.mark.parametrize("slope", [-0.1, -0.05, 0, 0.02, 0.05, 0.1, 0.2])
def test_thin_strips_along_the_chest_wall_are_right(slope: float, bend: float) -> None:
    y, x = np.mgrid[:1024, :1024]
    for top, bottom in ((150, 700), (20, 1000)):
        for width in (6, 10, 15, 25, 40):
            left = 300 + slope * (y - 512) + bend * (y - 512) ** 2
            strip = (x >= left) & (x < left + width) & (y >= top) & (y < bottom)
            assert geometry.find_problem(rle.encode(strip.astype(np.uint8)), 1024, 1024) == "", (top, width)


def test_two_regions_above_each_other_are_right() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[40:100, 100:300] = mask[280:350, 100:300] = 1
    assert geometry.find_problem(rle.encode(mask), 512, 512) == ""


@pytest.mark.parametrize("text", ["-1", "5 100", "0 3 5 3 90 1"], ids=["empty", "one run", "few runs"])
def test_few_runs_are_not_judged(text: str) -> None:
    assert geometry.find_problem(text, 100, 100) == ""


@pytest.mark.parametrize(
    ("text", "size", "problem"),
    [
        (rle.encode(crescent(512, 512)), (1024, 1024), "as in an image of 51[0-9] rows, not 1024"),
        (rle.encode(crescent(1000, 1000)), (1024, 1024), "as in an image of (999|100[0-9]) rows, not 1024"),
        (rle.encode(crescent(1280, 1280)), (1024, 1024), "as in an image of 12[78][0-9] rows, not 1024"),
        (rle.encode(crescent(2048, 2048)), (1024, 1024), "as in an image of 204[0-9] rows, not 1024"),
        (rle.encode(crescent(600, 800).T), (600, 800), "as in row-major order of 800 columns"),
        (absolute(crescent(1024, 1024)), (1024, 1024), "absolute starts, not gaps"),
        (absolute(crescent(1024, 1024)[:, :100]), (1024, 1024), "absolute starts, not gaps"),
        (" ".join(["97 30"] * 9 + ["1333 5"] * 9), (1024, 1024), "not one column of 1024 pixels apart"),
    ],
    ids=["half", "a little less", "larger", "double", "row-major", "absolute", "few absolute", "irregular"],
)  # fmt: skip
def test_other_masks_are_named_with_the_likely_cause(text: str, size: tuple[int, int], problem: str) -> None:
    assert re.search(problem, geometry.find_problem(text, *size)), geometry.find_problem(text, *size)


@pytest.mark.parametrize("size", [(64, 64), (512, 400), (1024, 1024), (3000, 2500)])
def test_the_distance_of_the_runs_tells_the_rows(size: tuple[int, int]) -> None:
    assert abs(geometry.find_rows(rle.encode(crescent(*size))) - size[0]) <= size[0] / 64
    assert geometry.find_rows("5 100") == 0


@pytest.mark.siim
@pytest.mark.skipif("PNEUMO_SIIM_DIR" not in os.environ, reason="PNEUMO_SIIM_DIR is not set")
def test_no_real_mask_is_accused_and_every_one_of_another_size_is() -> None:
    root = Path(os.environ["PNEUMO_SIIM_DIR"])
    texts = [*annotations.read_masks(root / "dev/train-rle.csv").values()]
    texts += annotations.read_masks(root / "sample10/train-rle-sample.csv").values()
    positive = [text for text in texts if text != rle.EMPTY]
    assert len(positive) == 220
    assert [text for text in positive if geometry.find_problem(text, 1024, 1024)] == []
    caught = 0
    for text in positive:
        mask = rle.decode(text, 1024, 1024)
        assert geometry.find_problem(absolute(mask), 1024, 1024) == "its numbers seem to be absolute starts, not gaps"
        smaller = rle.encode(cv2.resize(mask, (768, 768), interpolation=cv2.INTER_NEAREST))
        caught += geometry.find_problem(smaller, 1024, 1024) != ""
    assert caught >= 218
