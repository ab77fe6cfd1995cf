"""The warp of one sample on the CPU, by OpenCV; ``batched_warp`` has that of a batch on its device."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dicom.image_codec import Pixels, to_float
from pneumo.loading.augmentation.transforms import Mask, PixelTransform
from pneumo.loading.geometry import Matrix

_VALUES = to_float(np.arange(256, dtype=np.uint8))
"""(256,) float32: of each level of 8 bits its value in [0, 1]."""
_NO_MASK = np.zeros((1, 1), np.uint8)


def make_image(
    pixels: Pixels,
    matrix: Matrix,
    transforms: Sequence[PixelTransform],
    out: npt.NDArray[np.float32],
    mask: Mask | None,
) -> None:
    """Fill the network's image with values in [0, 1], and apply the changes of pixels to it and to its mask.

    Values are linear between pixel centers, and black outside of the source. An image of the network's size that is
    neither moved nor scaled nor rotated keeps its values, flipped or not: half of those that are augmented as by
    default do, and all that are validated at the source's size. If it has 8 bits, its 256 levels are changed and not
    its pixels, with the same result.

    Args:
        pixels: (rows, columns), the source.
        matrix: (2, 3) network to source pixel centers.
        transforms: The changes, in order.
        out: (size, size), C-contiguous.
        mask: (size, size), 1 inside and 0 outside; None where nobody asks for it.
    """
    placed = _place(pixels, matrix, len(out))
    done = 0
    if placed is None:
        values = np.empty(pixels.shape, np.float32)
        _look_up(pixels, _VALUES, values)
        warp(values, matrix, out, cv2.INTER_LINEAR)
    else:
        values = _VALUES.copy()
        if placed.dtype == np.uint8:
            pointwise = list(takewhile(lambda transform: transform.pointwise, transforms))
            for transform in pointwise:
                transform.apply_to_arrays(values[None], _NO_MASK)
            done = len(pointwise)
        _look_up(placed, values, out)
    for transform in transforms[done:]:
        mask = np.zeros(out.shape, np.uint8) if mask is None else mask
        transform.apply_to_arrays(out, mask)


def _place(pixels: Pixels, matrix: Matrix, size: int) -> Pixels | None:
    """Return the network's image if it has the source's own pixels, each once; otherwise None."""
    if pixels.shape != (size, size):
        return None
    # As lists: numpy would convert the other one at each comparison, which takes as long as the flip.
    mapping = matrix.tolist()
    if mapping == [[1, 0, 0], [0, 1, 0]]:
        return pixels
    if mapping == [[-1, 0, size - 1], [0, 1, 0]]:
        return cv2.flip(pixels, 1)  # type: ignore[return-value]
    return None


def _look_up(pixels: Pixels, values: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
    """Fill ``out`` with the values of 8-bit levels, or with ``to_float(pixels)`` of 16 bits."""
    if pixels.dtype == np.uint8:
        cv2.LUT(pixels, values, dst=out)
    else:
        np.divide(pixels, np.float32(65535), out=out, dtype=np.float32, casting="unsafe")


def warp(source: npt.NDArray[Any], matrix: Matrix, out: npt.NDArray[Any], interpolation: int) -> None:
    """Fill the network's image from a source image, with 0 outside of it.

    Args:
        source: (rows, columns) float32 or uint8.
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
