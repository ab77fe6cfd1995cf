"""Masks at the network's size, directly from their run lengths; both loaders make them here, so that they agree."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.augmentation.transforms import Mask
from pneumo.loading.decoded_cache import DecodedCache
from pneumo.loading.geometry import Matrix
from pneumo.loading.images import damaged_sample
from pneumo.loading.warp import warp
from pneumo.masks import rle


def rasterize_mask(reader: ShardReader, row: int, matrix: Matrix, out: Mask, cache: DecodedCache | None = None) -> None:
    """Rasterize a row's mask at the network's size; an empty one, or a test image's, is not read at all.

    Sampling the nearest pixel keeps the area on average. A lesion that is smaller than the step between two samples may
    fall between them, and is marked all the same: its image is positive unless the lesion is outside of the view.

    Args:
        reader: Reads the run lengths.
        row: Row of the sample table.
        matrix: (2, 3) network to source pixel centers.
        out: (size, size) zeros, overwritten with 1 inside the pneumothorax.
        cache: Keeps the run lengths.

    Raises:
        UserError: When the run lengths are damaged.
    """
    if not reader.table.positive[row]:
        return
    with _naming(reader, row):
        text = reader.rle(row) if cache is None else cache.rle(reader, row)
        left, columns = rle.decode_columns(text, *reader.table.shape(row), align=2)
    if not columns.size:
        return
    # Only what the lesion touches is painted and sampled, a few percent of the image. An even number of pixels is taken
    # off the source: halfway between two pixels OpenCV takes the even one.
    _, top, _, height = cv2.boundingRect(columns)
    lesion = columns[top - top % 2 : top + height]
    to_lesion = matrix.copy()
    to_lesion[:, 2] -= left, top - top % 2
    x, y = _touched(lesion.shape, to_lesion, len(out))
    view = out[y, x]
    if view.size:
        sampled = np.empty(view.shape, np.uint8)
        from_view = to_lesion.copy()
        from_view[:, 2] = to_lesion @ (x.start, y.start, 1)
        warp(lesion, from_view, sampled, cv2.INTER_NEAREST)
        view[:] = sampled
    if not view.any():
        _mark_largest_part(lesion, to_lesion, out)


def _touched(shape: tuple[int, int], matrix: Matrix, size: int) -> tuple[slice, slice]:
    """Return the columns and the rows of the network's image that may show a source of this shape."""
    height, width = shape
    (a, b, x), (c, d, y) = cv2.invertAffineTransform(matrix).tolist()
    corners = [(column, row) for column in (-1, width) for row in (-1, height)]
    return (
        _inside([a * column + b * row + x for column, row in corners], size),
        _inside([c * column + d * row + y for column, row in corners], size),
    )


def _inside(places: list[float], size: int) -> slice:
    first = min(max(math.floor(min(places)), 0), size)
    return slice(first, max(first, min(math.ceil(max(places)) + 1, size)))


def _mark_largest_part(lesion: npt.NDArray[np.uint8], matrix: Matrix, out: Mask) -> None:
    """Mark the pixel of the network's image that has most of a lesion, unless all of it is outside."""
    rows, columns = np.nonzero(lesion)
    x, y = cv2.invertAffineTransform(matrix) @ np.stack([columns, rows, np.ones(len(rows))])
    places = np.rint(np.stack([y, x])).astype(np.int64)
    inside = ((places >= 0) & (places < len(out))).all(axis=0)
    if inside.any():
        pixels, counts = np.unique(places[:, inside], axis=1, return_counts=True)
        row, column = pixels[:, counts.argmax()]
        out[row, column] = 1


def read_mask(reader: ShardReader, row: int) -> npt.NDArray[np.uint8]:
    """Return a training row's mask, (rows, columns), 1 inside and 0 outside.

    Raises:
        UserError: When the run lengths are damaged.
    """
    with _naming(reader, row):
        return rle.decode(reader.rle(row), *reader.table.shape(row))


def read_runs(reader: ShardReader, row: int) -> rle.Runs:
    """Return the runs of a training row's mask, (n, 2) starts and lengths.

    Raises:
        UserError: When the run lengths are damaged.
    """
    with _naming(reader, row):
        return rle.parse(reader.rle(row), math.prod(reader.table.shape(row)))


@contextmanager
def _naming(reader: ShardReader, row: int) -> Iterator[None]:
    """Name the row whose run lengths are damaged."""
    try:
        yield
    except rle.RleError as error:
        raise damaged_sample(reader, row, f"the mask has {error}", "run lengths that fit the image") from None
