"""The mapping from pixels of the network's square input to pixels of the source image.

Matrices are (2, 3) float64 and map (x, y) of the network's image to (x, y) of the source, both with the first
pixel's center at (0, 0), as in OpenCV.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

DOWNSAMPLE_FACTORS = (8, 4, 2)
"""Factors by which libjpeg can downsample an image while decoding it."""


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """An image scaled to fit a square, aspect kept, centered to the pixel; the rest of the square is black."""

    scale: float
    """Network pixels per source pixel."""
    top: int
    """Network row of the content's first row."""
    left: int
    """Network column of the content's first column."""
    height: int
    """Network rows of the content, the last one possibly covered in part."""
    width: int
    """Network columns of the content, the last one possibly covered in part."""

    @property
    def matrix(self) -> Matrix:
        """Map network to source pixel centers."""
        step = 1 / self.scale
        # The scale maps corners of pixels, half a pixel from their centers.
        x = (0.5 - self.left) * step - 0.5
        y = (0.5 - self.top) * step - 0.5
        return np.array([[step, 0, x], [0, step, y]])


def letterbox(rows: int, columns: int, size: int) -> Letterbox:
    """Fit an image into the network's square.

    The content starts at a whole pixel, so that an image of the network's size stays exactly as it is.

    Args:
        rows: Height of the source in pixels.
        columns: Width of the source in pixels.
        size: Height and width of the network's input in pixels.
    """
    scale = size / max(rows, columns)
    height, width = int(np.ceil(rows * scale - 1e-6)), int(np.ceil(columns * scale - 1e-6))
    return Letterbox(scale=scale, top=(size - height) // 2, left=(size - width) // 2, height=height, width=width)


def homogeneous(matrix: Matrix) -> Matrix:
    """Return the (2, 3) matrix with its third row, (3, 3), so that it can be multiplied with others."""
    square = np.zeros((3, 3))
    square[:2] = matrix
    square[2, 2] = 1
    return square


def downsample_factor(rows: int, columns: int, size: int) -> int:
    """Return the largest factor of 1, 2, 4 and 8 that leaves a source no smaller than ``size``.

    The warp interpolates between 2x2 pixels; downsampling by averages first keeps it from skipping any, and is cheap
    where the JPEG decoder does it.
    """
    longest = max(rows, columns)
    return next((factor for factor in DOWNSAMPLE_FACTORS if longest >= factor * size), 1)


def downsampled_shape(rows: int, columns: int, factor: int) -> tuple[int, int]:
    """Return (rows, columns) of a downsampled image, in which an incomplete block at the far edge becomes a pixel."""
    return -(-rows // factor), -(-columns // factor)


def scale_matrix(matrix: Matrix, factor: int) -> Matrix:
    """Return the matrix that maps to an image downsampled by ``factor`` instead of the image itself."""
    scaled = matrix / factor
    scaled[:, 2] += 0.5 / factor - 0.5
    return scaled
