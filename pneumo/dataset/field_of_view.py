"""The size of what an image shows, by its pixel spacing, and areas in it, where that size is plausible.

The pixel spacing of the competition's files is that of NIH's originals, 2,000 to 3,000 pixels high, which were reduced
to 1024 x 1024 without correcting it: adults' chests would be 14 to 20 cm high, and areas are 4 to 7 times too small. No
area is better than a wrong one.
"""

import numpy as np
import numpy.typing as npt

from pneumo.dataset.table import Rows, SampleTable

MIN_ADULT_MM = 250.0
"""Longer side of the smallest image that holds the chest of an adult, whose lungs alone are 20 to 30 cm high; detectors
and films for adults have 35 to 43 cm."""
ADULT_YEARS = 18
"""Age from which the limit holds; images of unknown age may be of children."""


def longer_side_mm(table: SampleTable) -> npt.NDArray[np.float64]:
    """Return the longer side of each image in millimeters, (n,); NaN where the pixel spacing is unknown."""
    sides: npt.NDArray[np.float64] = np.maximum(
        table.rows * table.row_spacing_mm, table.columns * table.column_spacing_mm
    )
    return sides


def is_too_small(table: SampleTable) -> npt.NDArray[np.bool_]:
    """Return which images, (n,), have a pixel spacing that must be wrong.

    They are of an adult and smaller than a chest, or of anybody and as large as such an image of the same table.
    """
    sides = longer_side_mm(table).round(3)
    adults = sides[(sides < MIN_ADULT_MM) & (table.age_years >= ADULT_YEARS)]
    small: npt.NDArray[np.bool_] = np.isin(sides, adults)
    return small


def area_mm2(table: SampleTable, rows: Rows, pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return areas in square millimeters; NaN where the pixel spacing is unknown, or cannot be right.

    Args:
        table: The images.
        rows: Rows of the table, (n,).
        pixels: Area in pixels in each of these images, (n,).
    """
    areas: npt.NDArray[np.float64] = pixels * table.row_spacing_mm[rows] * table.column_spacing_mm[rows]
    return np.where(is_too_small(table)[rows], np.nan, areas)


def note(table: SampleTable, row: int) -> str:
    """Return why an image has no area in square millimeters though its pixel spacing is known."""
    side = longer_side_mm(table)[row] / 10
    return f"by the pixel spacing {side:.1f} cm high, which is too small for adults here: no area in mm2"
