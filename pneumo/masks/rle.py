"""Encode and decode masks as Kaggle's relative run lengths.

The run lengths of a mask are a string of pairs of numbers, ``gap length gap length ...``. Each gap counts from the end
of the run before it (the first from pixel 0), and pixels are in column-major order: pixel ``x * rows + y`` is in row
``y`` of column ``x``. An empty mask is ``-1``. (SIIM-ACR Pneumothorax Segmentation, Kaggle 2019.) Apart from ``-1`` and
the last run of zeros, which is omitted, these are COCO's uncompressed ``counts``.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Runs = npt.NDArray[np.int64]
"""(n, 2): zero-based start in column-major order, length in pixels; sorted, and no two overlap."""

EMPTY = "-1"
"""The run lengths of a mask without pixels."""

_NUMBERS = re.compile(r"[0-9\s]+", re.ASCII)
_WORD = re.compile(r"\S+", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]+")
_MAX_PIXELS = 2**48
"""Far above any image; sums, and the int64 bound to which numpy clips longer numbers, exceed it."""


class RleError(ValueError):
    """A string that is not a run-length encoding, or does not fit its image; the message has the reason."""


def encode(mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> str:
    """Return the run lengths of a mask.

    Args:
        mask: (rows, columns), nonzero inside.

    Returns:
        The runs in order, none touching the next; ``"-1"`` when no pixel is set.
    """
    assert mask.ndim == 2
    inside = mask if mask.dtype == np.bool_ else mask != 0
    columns = np.flatnonzero(inside.any(axis=0))
    if not columns.size:
        return EMPTY
    # Only the columns between the first and the last pixel are transposed to column-major order.
    first, last = int(columns[0]), int(columns[-1]) + 1
    rows = mask.shape[0]
    padded = np.zeros((last - first) * rows + 2, dtype=np.bool_)
    padded[1:-1].reshape(last - first, rows)[:] = inside[:, first:last].T
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    runs = edges.reshape(-1, 2).astype(np.int64)
    runs[:, 1] -= runs[:, 0]
    runs[:, 0] += first * rows
    return format_runs(runs)


def decode(text: str, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """Return the mask of run lengths.

    Returns:
        (rows, columns), C-contiguous, 1 inside and 0 outside.

    Raises:
        RleError: When the string is malformed or a run ends beyond the image.
    """
    mask = np.zeros((rows, columns), dtype=np.uint8)
    first, inside = decode_columns(text, rows, columns)
    mask[:, first : first + inside.shape[1]] = inside
    return mask


def decode_columns(text: str, rows: int, columns: int, align: int = 1) -> tuple[int, npt.NDArray[np.uint8]]:
    """Return the columns of a mask from the first to the last that runs touch.

    Args:
        text: As for ``parse``.
        rows: Height of the image.
        columns: Width of the image.
        align: The first column returned is a multiple of it, at most that many before the first that is touched.

    Returns:
        The first column, and (rows, columns from there on), C-contiguous, 1 inside and 0 outside. An empty mask has no
        columns.

    Raises:
        RleError: When the string is malformed or a run ends beyond the image.
    """
    runs = parse(text, rows * columns)
    if not len(runs):
        return 0, np.zeros((rows, 0), dtype=np.uint8)
    first = int(runs[0, 0]) // rows // align * align
    last = (int(runs[-1].sum()) - 1) // rows + 1
    import cv2

    # OpenCV transposes bytes ten times faster than numpy.
    painted = _paint(runs, first * rows, last * rows).reshape(last - first, rows)
    return first, cv2.transpose(painted)  # type: ignore[return-value]


def _paint(runs: Runs, first: int, last: int) -> npt.NDArray[np.uint8]:
    """Return the pixels from ``first`` to before ``last``, which hold all runs (n > 0): 1 inside and 0 outside."""
    bounds = np.empty(2 * len(runs) + 2, dtype=np.int64)
    bounds[0], bounds[-1] = first, last
    bounds[1:-1:2] = runs[:, 0]
    bounds[2:-1:2] = runs.sum(axis=1)
    values = np.zeros(len(bounds) - 1, dtype=np.uint8)
    values[1::2] = 1
    return np.repeat(values, np.diff(bounds))


def parse(text: str, pixels: int | None = None) -> Runs:
    """Return the runs of a string of run lengths.

    Args:
        text: Pairs of numbers separated by white space, or ``-1``; white space around it is ignored.
        pixels: Number of pixels of the image; no run may end beyond it.

    Returns:
        (n, 2) starts and lengths; n = 0 for ``-1``. Runs with a gap of 0 between them are kept apart.

    Raises:
        RleError: On anything but numbers, an odd count of them, a negative one, a run of length 0, and a run that
            ends beyond ``pixels``.
    """
    text = text.strip()
    if text == EMPTY:
        return np.empty((0, 2), dtype=np.int64)
    if not _NUMBERS.fullmatch(text):
        raise RleError(_describe_non_number(text))
    # numpy parses digits six times faster than int(); anything else that it would accept was refused above.
    runs = np.fromstring(text, dtype=np.int64, sep=" ")
    if len(runs) % 2:
        raise RleError(f"an odd count of numbers ({len(runs)}), not pairs of gap and length")
    runs = runs.reshape(-1, 2)
    lengths = runs[:, 1]
    if not lengths.all():
        raise RleError(f"run {int(np.argmin(lengths)) + 1} has length 0")
    if runs.sum(dtype=np.float64) > _MAX_PIXELS:
        raise RleError("the last run ends beyond any image")
    ends = np.cumsum(runs)[1::2]
    if pixels is not None and ends[-1] > pixels:
        raise RleError(f"the last run ends at pixel {ends[-1]}, beyond the image's {pixels} pixels")
    runs[:, 0] = ends - lengths
    return runs


def format_runs(runs: Runs) -> str:
    """Return the string of sorted runs that do not overlap; the inverse of ``parse``."""
    if not len(runs):
        return EMPTY
    numbers = runs.copy()
    numbers[1:, 0] -= runs[:-1].sum(axis=1)
    assert (numbers[:, 0] >= 0).all(), "runs must be sorted and must not overlap"
    return " ".join(map(str, numbers.ravel().tolist()))


def union(texts: Sequence[str]) -> str:
    """Return the run lengths of the union of several masks of one image, overlapping or not.

    The result is what ``encode`` writes for the united mask: sorted runs, none touching the next.

    Raises:
        RleError: When a string is malformed.
    """
    return format_runs(unite([parse(text) for text in texts]))


def unite(parts: Sequence[Runs]) -> Runs:
    """Return the union of several masks' runs, with touching runs joined."""
    if not parts:
        return np.empty((0, 2), dtype=np.int64)
    runs = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if len(parts) > 1:
        runs = runs[np.argsort(runs[:, 0], kind="stable")]
    # A run begins a new one when it starts beyond the end of all runs before it.
    ends = np.maximum.accumulate(runs.sum(axis=1))
    opens = np.ones(len(runs), dtype=np.bool_)
    opens[1:] = runs[1:, 0] > ends[:-1]
    if opens.all():
        return runs
    starts = runs[opens, 0]
    closes = ends[np.append(np.flatnonzero(opens)[1:] - 1, len(runs) - 1)]
    return np.stack([starts, closes - starts], axis=1)


def intersection(first: Runs, second: Runs) -> int:
    """Return the number of pixels that two masks of one image share, without decoding either."""
    if not len(first) or not len(second):
        return 0
    bounds = np.stack([first[:, 0], first.sum(axis=1)])
    below = _pixels_below(second, bounds)
    return int((below[1] - below[0]).sum())


def _pixels_below(runs: Runs, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many pixels of ``runs`` (n > 0) are before each bound."""
    position = np.searchsorted(runs[:, 0], bounds, side="right") - 1
    before = np.concatenate([[0], np.cumsum(runs[:, 1])])
    # The bound may divide the run at or before it; before the first run there are no pixels.
    cut = np.minimum(bounds - runs[position, 0], runs[position, 1])
    return np.where(position < 0, 0, before[position] + cut)


def _describe_non_number(text: str) -> str:
    """Return which word of ``text`` is not a non-negative integer."""
    if not text:
        return f"an empty string; an empty mask is written {EMPTY}"
    for number, word in enumerate(_WORD.findall(text), start=1):
        if not _INTEGER.fullmatch(word):
            return f"word {number} is not an integer"
        if word.startswith("-"):
            return f"{word[:40]} (word {number}) is negative; {EMPTY} by itself is an empty mask"
    raise AssertionError("every word is a number")
