"""What a dataset's closing lines say about samples that are odd."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset import levels, oddities
from pneumo.dataset.table import SampleTable
from pneumo.dicom import image_file


@pytest.fixture
def table(built: Path) -> SampleTable:
    read = SampleTable.read(built)
    size = len(read)
    return replace(
        read, low_level=np.full(size, 0.1), high_level=np.full(size, 0.8), render_notes=np.full(size, "", "U80"),
        mask_note=np.full(size, "", "U80"),
    )  # fmt: skip


def test_nothing_is_odd_about_good_images(table: SampleTable) -> None:
    assert oddities.describe(table) == []


def test_pictures_without_content_are_counted_by_kind_with_the_worst(table: SampleTable) -> None:
    table.low_level[:6] = 0.0, 0.49, 0.0, 0.05, 0.76, 0.9
    table.high_level[:6] = 0.05, 0.5, 0.2, 0.24, 0.99, 1.0
    ids = table.image_id
    assert oddities.describe(table) == [
        f"2 flat images, worst {ids[1]}: 90 % of it is between 0.49 and 0.50 of white",
        f"2 almost black images, worst {ids[2]}: 90 % of it is between 0.00 and 0.20 of white",
        f"2 almost white images, worst {ids[5]}: 90 % of it is between 0.90 and 1.00 of white",
    ]


def test_notes_of_one_kind_are_counted_together_with_the_lowest_and_the_highest_number(table: SampleTable) -> None:
    table.render_notes[:4] = "first of 4 frames", "first of 40 frames; RGB rendered to gray", "first of 7 frames", "odd"
    ids = table.image_id
    assert oddities.describe(table) == [
        f"3 images: first of 4 frames, such as {ids[0]}, to first of 40 frames, such as {ids[1]}",
        f"1 image: RGB rendered to gray, such as {ids[1]}",
        f"1 image: odd, such as {ids[3]}",
    ]


def test_masks_that_do_not_fit_are_counted_with_the_largest(table: SampleTable) -> None:
    first, second = np.flatnonzero(table.positive)[:2]
    table.mask_area[[first, second]] = 10, 20
    table.mask_note[[first, second]] = "small", "large"
    assert oddities.describe(table) == [
        f"2 of 6 masks probably not of the image's size, the largest {table.image_id[second]}: large"
    ]


def test_no_positive_image_is_odd_where_there_are_training_images(table: SampleTable) -> None:
    table.positive[:] = False
    assert oddities.describe(table)[0].startswith("none of 24 training images has a pneumothorax")
    table.split[:] = "test"
    assert oddities.describe(table) == []


@pytest.mark.siim
@pytest.mark.skipif("PNEUMO_SIIM_DIR" not in os.environ, reason="PNEUMO_SIIM_DIR is not set")
def test_real_images_are_far_from_odd() -> None:
    files = sorted(Path(os.environ["PNEUMO_SIIM_DIR"]).rglob("*.dcm"))[::10]
    measured = np.array([levels.measure(image_file.read(path).data) for path in files])
    low, high = measured.T
    assert (high - low).min() > 4 * oddities.FLAT
    assert high.min() > 1.5 * oddities.DARK
    assert low.max() < oddities.BRIGHT / 1.5


def test_adults_that_are_too_small_by_their_pixel_spacing_are_counted_with_their_sizes(table: SampleTable) -> None:
    # 1024 pixels of NIH's reduced originals.
    table.rows[:], table.columns[:] = 1024, 900
    table.row_spacing_mm[:], table.column_spacing_mm[:] = 0.35, 0.35
    table.row_spacing_mm[:4], table.age_years[:4] = (0.143, 0.194, 0.143, np.nan), (18, 90, 17, 50)
    table.column_spacing_mm[:3] = 0.143
    assert oddities.describe(table) == [
        f"3 images, by the pixel spacing 14.6 to 19.9 cm high, such as {table.image_id[0]}: too small for the chests of"
        " adults among them, as of images that were reduced afterwards; areas in mm2 are left out"
    ]
