"""Antialiased shapes on a square image, given in unit coordinates.

Unit coordinates: x in [-0.5, 0.5] from the vertical center line of the image to the right, y in [0, 1] downwards.
Shapes may extend beyond the image.
"""

from functools import cache
from typing import NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

Points = npt.NDArray[np.float64]
"""(n, 2) or, for several lines, (lines, n, 2): x, y."""
Layer = npt.NDArray[np.float32]
"""(size, size), usually in [0, 1]."""

_FRACTION_BITS = 6


class Stroke(NamedTuple):
    """Open lines of the same width and value."""

    lines: Points
    """(lines, n, 2)."""
    width: float
    """In unit coordinates."""
    value: float
    """In [0, 1]."""


class Canvas:
    """The size of an image and the affine map from unit coordinates to its pixels.

    Args:
        size: Rows and columns of the image.
        angle_deg: Rotation of every shape about the center of the image, clockwise on the screen.
        scale: Magnification about the center.
        shift: Translation (x, y) after rotation and magnification, in unit coordinates.
    """

    def __init__(
        self, size: int, angle_deg: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        self.size = size
        self.scale = scale
        self._linear = scale * size * np.array([[cosine, -sine], [sine, cosine]])
        self._offset = size * (np.array([0.5, 0.5]) + shift) - 0.5

    def _pixels(self, points: Points) -> npt.NDArray[np.int32]:
        """Return pixel coordinates in OpenCV's fixed-point form."""
        mapped = (points - (0.0, 0.5)) @ self._linear.T + self._offset
        return np.rint(mapped * (1 << _FRACTION_BITS)).astype(np.int32)

    def fill(self, *outlines: Points) -> Layer:
        """Return the fraction of each pixel that is inside any of the closed outlines."""
        layer = np.zeros((self.size, self.size), np.uint8)
        for outline in outlines:
            cv2.fillPoly(layer, [self._pixels(outline)], 255, cv2.LINE_AA, _FRACTION_BITS)
        return _coverage(layer)

    def stroke(self, *strokes: Stroke) -> Layer:
        """Draw strokes, each over the ones before; one thinner than a pixel is drawn one pixel wide and fainter."""
        layer = np.zeros((self.size, self.size), np.uint8)
        for stroke in strokes:
            wide = stroke.width * self.scale * self.size
            color = 255 * stroke.value * min(1.0, wide)
            thickness = max(1, round(wide))
            lines = self._pixels(stroke.lines)
            cv2.polylines(layer, list(lines), False, color, thickness, cv2.LINE_AA, _FRACTION_BITS)
        return _coverage(layer)

    def blur(self, layer: Layer, sigma: float) -> Layer:
        """Blur with a Gaussian of ``sigma`` in unit coordinates; a wide one is applied to a smaller copy, for speed."""
        pixels = sigma * self.size
        shrink = int(pixels // 4) + 1
        small = (
            layer
            if shrink == 1
            else cv2.resize(layer, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        )
        soft = cv2.GaussianBlur(small, (0, 0), pixels / shrink, borderType=cv2.BORDER_REPLICATE)
        full = soft if shrink == 1 else cv2.resize(soft, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return cast(Layer, full)


def _coverage(drawn: npt.NDArray[np.uint8]) -> Layer:
    return np.multiply(drawn, 1 / 255, dtype=np.float32)


def closed_curve(knots: Points, count: int) -> Points:
    """Return ``count`` points of the smooth closed curve through the knots (periodic cubic spline)."""
    curve: Points = _spline_basis(len(knots), count, True) @ knots
    return curve


def open_curve(knots: Points, count: int) -> Points:
    """Return ``count`` points of the smooth curve from the first knot to the last (natural cubic spline).

    Args:
        knots: (..., knots, 2), several curves at once.
        count: Points of each.
    """
    curve: Points = _spline_basis(knots.shape[-2], count, False) @ knots
    return curve


@cache
def _spline_basis(knots: int, count: int, closed: bool) -> npt.NDArray[np.float64]:
    """Return the (count, knots) weights of equally spaced knots; cached, since fitting a spline is slow."""
    values = np.eye(knots)
    if closed:
        values = np.vstack([values, values[:1]])
    parameters = np.linspace(0, len(values) - 1, count, endpoint=not closed)
    ends = "periodic" if closed else "natural"
    basis: npt.NDArray[np.float64] = CubicSpline(np.arange(len(values)), values, bc_type=ends)(parameters)
    return basis
