"""Sizes by the pixel spacing, against numbers computed by hand; areas where they are plausible."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset import field_of_view
from pneumo.dataset.table import SampleTable


@pytest.fixture
def table(built: Path) -> SampleTable:
    """Adults, a child and one of unknown age, whose images would be 14.6 cm high, but for the first three and it."""
    table = SampleTable.read(built)
    size = len(table)
    spacing = np.full(size, 0.143)
    spacing[:3] = 0.35, 0.25, np.nan
    ages = np.full(size, 60, np.int16)
    ages[4:6] = 17, -1
    # Of unknown age, and of another size than any adult.
    spacing[5] = 0.2
    return replace(
        table,
        rows=np.full(size, 1024, np.int32),
        columns=np.full(size, 500, np.int32),
        row_spacing_mm=spacing,
        column_spacing_mm=spacing * 2,
        age_years=ages,
    )


def test_an_adult_s_image_of_less_than_25_cm_cannot_be_of_a_chest(table: SampleTable) -> None:
    assert field_of_view.longer_side_mm(table)[:4] == pytest.approx([358.4, 256, np.nan, 146.432], nan_ok=True)
    assert field_of_view.is_too_small(table)[:7].tolist() == [False, False, False, True, True, False, True]
    assert field_of_view.note(table, 3) == (
        "by the pixel spacing 14.6 cm high, which is too small for adults here: no area in mm2"
    )


def test_an_area_is_known_where_the_spacing_is_known_and_plausible(table: SampleTable) -> None:
    rows = np.arange(6)
    areas = field_of_view.area_mm2(table, rows, np.full(6, 1000))
    # A pixel is twice as wide as high.
    assert areas == pytest.approx([245, 125, np.nan, np.nan, np.nan, 80], nan_ok=True)
