"""Whether a mask's run lengths can be those of an image of its size: neighboring runs start about one column apart.

Run lengths of another image's size, in row-major order, or with absolute starts are valid numbers, and they give a mask
that is sheared, scattered or in another place. A drawn shape shows it: most of its columns have a neighbor in which the
shape starts at nearly the same row. On 220 masks of SIIM-ACR (1024 rows) the median difference is at most 2 rows.
"""

import numpy as np
import numpy.typing as npt

from pneumo.masks import rle

MIN_RUNS = 8
"""Fewer runs say nothing about their distance; the smallest of the 220 masks has 30."""
ABSOLUTE = "its numbers seem to be absolute starts, not gaps"
"""The problem of starts that count from the first pixel, not from the end of the run before."""
ABSOLUTE_ACTION = "write each start as the gap to the end of the run before it"
"""What to do about absolute starts."""
_TOLERANCE = 1 / 128
"""Of the rows: by how much the median start may differ from one column to the next. Four times what occurs, and less
than the difference that a mask of 1008 rows makes in an image of 1024."""
_SHORTER, _REGULAR = 0.75, 0.8
"""Runs that repeat at less than this part of a column, and the share of them that must. Two regions above each other
repeat, too: .64 of the runs of one of the 220 masks do."""

Starts = npt.NDArray[np.int64]


def find_problem(text: str, rows: int, columns: int) -> str:
    """Return why run lengths are probably not of an image of this size; empty when they may be.

    In a square image, masks in row-major order are transposed masks, whose runs do not differ from others'.

    Args:
        text: Run lengths that ``rle.parse`` accepts; they may end beyond the image.
        rows: The image's rows.
        columns: The image's columns.
    """
    starts = rle.parse(text)[:, 0]
    if len(starts) < MIN_RUNS or _is_regular(starts, rows):
        return ""
    if _is_absolute(text, rows, columns):
        return ABSOLUTE
    spacing = round(_spacing(starts, rows))
    if not spacing:
        return f"its runs are not one column of {rows} pixels apart"
    if columns != rows and abs(spacing - columns) <= _slack(columns):
        return f"its runs are {spacing} pixels apart, as in row-major order of {columns} columns"
    return f"its runs are {spacing} pixels apart, as in an image of {spacing} rows, not {rows}"


def find_rows(text: str) -> int:
    """Return how many rows the image of a mask has by the distance of its runs; 0 when they do not tell.

    Args:
        text: Run lengths that ``rle.parse`` accepts.
    """
    starts = rle.parse(text)[:, 0]
    return round(_spacing(starts)) if len(starts) >= MIN_RUNS else 0


def _is_regular(starts: Starts, rows: int) -> bool:
    """Return whether the runs can be those of a shape that is drawn in columns of so many rows.

    They repeat after a column and not within one; or the shape starts at about the same row in neighboring columns; or
    it is slanted, and all its columns together start no further from each other than the image is high. In columns of
    another length, the starts move on as far as there are columns.
    """
    spacing, differences = _spacing(starts, rows), _differences(starts, rows)
    if 0 < spacing <= _SHORTER * rows:
        return False
    columns = float(starts[-1] - starts[0]) / rows
    return (
        abs(spacing - rows) <= _slack(rows)
        or abs(float(np.median(differences))) <= _slack(rows)
        or abs(float(differences.mean())) * columns <= rows
    )


def _is_absolute(text: str, rows: int, columns: int) -> bool:
    """Return whether the numbers, read as absolute starts and lengths, are a mask of this size."""
    pairs = np.array(text.split(), dtype=np.int64).reshape(-1, 2)
    starts, ends = pairs[:, 0], pairs.sum(axis=1)
    # A pixel more: some count from 1.
    return bool((starts[1:] >= ends[:-1]).all() and ends[-1] <= rows * columns + 1 and _is_regular(starts, rows))


def _spacing(starts: Starts, rows: int | None = None) -> float:
    """Return the distance at which the runs repeat, 0 when they do not; a column may have up to four runs.

    Args:
        starts: Where the runs start.
        rows: The rows of the image by which starts may differ; those of each distance when they are not known.
    """
    medians = (float(np.median(starts[runs:] - starts[:-runs])) for runs in (1, 2, 3, 4))
    return next((median for median in medians if _share(starts, median, rows or median) >= _REGULAR), 0.0)


def _share(starts: Starts, distance: float, rows: float) -> float:
    """Return the share of the runs that have another one at a distance."""
    return float((np.abs(_differences(starts, distance)) <= rows / 32).mean())


def _differences(starts: Starts, distance: float) -> npt.NDArray[np.float64]:
    """Return by how much the run nearest to a distance from each run is farther; of the runs that have any there."""
    wanted = starts + distance
    wanted = wanted[wanted <= starts[-1] + distance / 2]
    if not len(wanted):
        return np.zeros(1)
    position = np.searchsorted(starts, wanted)
    after = starts[np.minimum(position, len(starts) - 1)] - wanted
    before = starts[np.maximum(position - 1, 0)] - wanted
    nearest: npt.NDArray[np.float64] = np.where(np.abs(before) < np.abs(after), before, after)
    return nearest


def _slack(rows: int) -> float:
    return max(4.0, rows * _TOLERANCE)
