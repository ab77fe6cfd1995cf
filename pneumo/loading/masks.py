"""Masks at the network's size, directly from their run lengths; both loaders make them here, so that they agree."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.decoded_cache import DecodedCache
from pneumo.loading.geometry import Matrix
from pneumo.loading.images import damaged_sample
from pneumo.masks import rle


def rasterize_mask(
    reader: ShardReader,
    row: int,
    matrix: Matrix,
    out: npt.NDArray[np.uint8],
    cache: DecodedCache | None = None,
) -> None:
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
    if reader.table.positive[row]:
        mask = read_mask(reader, row, cache)
        warp(mask, matrix, out, cv2.INTER_NEAREST)
        if not out.any():
            _mark_largest_part(mask, matrix, out)


def _mark_largest_part(mask: npt.NDArray[np.uint8], matrix: Matrix, out: npt.NDArray[np.uint8]) -> None:
    """Mark the pixel of the network's image that has most of the mask, unless all of it is outside."""
    rows, columns = np.nonzero(mask)
    x, y = cv2.invertAffineTransform(matrix) @ np.stack([columns, rows, np.ones(len(rows))])
    places = np.rint(np.stack([y, x])).astype(np.int64)
    inside = ((places >= 0) & (places < len(out))).all(axis=0)
    if inside.any():
        pixels, counts = np.unique(places[:, inside], axis=1, return_counts=True)
        row, column = pixels[:, counts.argmax()]
        out[row, column] = 1


def read_mask(reader: ShardReader, row: int, cache: DecodedCache | None = None) -> npt.NDArray[np.uint8]:
    """Return a training row's mask, (rows, columns), 1 inside and 0 outside.

    Raises:
        UserError: When the run lengths are damaged.
    """
    try:
        text = reader.rle(row) if cache is None else cache.rle(reader, row)
        return rle.decode(text, *reader.table.shape(row))
    except rle.RleError as error:
        raise damaged_sample(reader, row, f"the mask has {error}", "run lengths that fit the image") from None


def warp(source: npt.NDArray[Any], matrix: Matrix, out: npt.NDArray[Any], interpolation: int) -> None:
    """Fill the network's image from a source image, with 0 outside of it.

    Args:
        source: (rows, columns) float32, uint16 or uint8.
        matrix: (2, 3) network to source pixel centers.
        out: (size, size) of the source's type, C-contiguous.
        interpolation: OpenCV's flag.
    """
    assert source.dtype == out.dtype
    warped = cv2.warpAffine(
        source,
        matrix,
        out.shape[::-1],
        dst=out,
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    assert warped is out
