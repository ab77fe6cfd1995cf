"""Number, size and place of the lesions of a mask, in coordinates from 0 to 1 over the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dataset.field_of_view import area_mm2
from pneumo.dataset.table import Rows, SampleTable

CELLS = 32
"""Cells along each side of the map of places."""
MIN_MASKS = 50
"""Masks from which the usual place is known."""
RARE = 0.005
"""Share of all masks that reach a cell, up to which it is an unusual place; a single mask is always that few."""
UNUSUAL = 0.5
"""Share of a mask in unusual places from which it is shown."""

Cover = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Lesions:
    """The lesions of one image: the 8-connected components of its mask."""

    areas: Sequence[float]
    """Of each component, as a share of the image, the largest first."""
    centers: Sequence[tuple[float, float]]
    """(x, y) of each, from the left and from the top edge."""
    cover: Cover
    """(``CELLS``, ``CELLS``) share of each cell of the image that the mask covers; rows from the top."""
    at_edge: bool
    """The mask reaches the edge of the image."""

    @property
    def area(self) -> float:
        """Return the share of the image that all components cover."""
        return sum(self.areas)

    @property
    def side(self) -> str:
        """Return the side of the picture with lesions, ``left``, ``right`` or ``both``.

        A PA or AP view is shown as if the patient faced the viewer: left in the picture is the patient's right.
        """
        sides = {"left" if x < 0.5 else "right" for x, _ in self.centers}
        return sides.pop() if len(sides) == 1 else "both"


def measure(mask: npt.NDArray[np.uint8]) -> Lesions:
    """Measure a mask (rows, columns) of 0 and 1 with a pixel or more."""
    count, _, statistics, centroids = cv2.connectedComponentsWithStats(mask, connectivity=8)
    order = 1 + np.argsort(-statistics[1:count, cv2.CC_STAT_AREA], kind="stable")
    rows, columns = mask.shape
    return Lesions(
        areas=(statistics[order, cv2.CC_STAT_AREA] / mask.size).tolist(),
        centers=[((x + 0.5) / columns, (y + 0.5) / rows) for x, y in centroids[order].tolist()],
        cover=np.asarray(_average(mask.astype(np.float32)), np.float32),
        at_edge=bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()),
    )


def _average(mask: npt.NDArray[np.float32]) -> Cover:
    """Return the mean of each cell; an image with fewer pixels than cells is enlarged without smoothing first."""
    factor = -(-CELLS // min(mask.shape))
    if factor > 1:
        mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.asarray(cv2.resize(mask, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)


def place_map(lesions: Sequence[Lesions]) -> npt.NDArray[np.float64]:
    """Return in which share of the images a mask covers each cell, (``CELLS``, ``CELLS``); zeros without any."""
    if not lesions:
        return np.zeros((CELLS, CELLS))
    mean: npt.NDArray[np.float64] = np.mean([one.cover for one in lesions], axis=0, dtype=np.float64)
    return mean


def unusual_shares(lesions: Sequence[Lesions]) -> npt.NDArray[np.float64]:
    """Return of each mask which share of it is in cells that hardly any mask reaches (``RARE``), (n,).

    Zeros for fewer than ``MIN_MASKS`` masks, of which each may be the first one of its place.
    """
    if len(lesions) < MIN_MASKS:
        return np.zeros(len(lesions))
    covers = np.array([one.cover for one in lesions])
    reached = covers > 0
    rare = reached.sum(axis=0) <= max(1, RARE * len(lesions))
    shares: npt.NDArray[np.float64] = np.where(rare, covers, 0).sum(axis=(1, 2)) / covers.sum(axis=(1, 2))
    return shares


def area_cm2(table: SampleTable, rows: Rows) -> npt.NDArray[np.float64]:
    """Return the area of masks in square centimeters, (n,); NaN where the pixel spacing is unknown or wrong.

    It is that on the detector where a file has this spacing alone (``attributes.AT_DETECTOR``).
    """
    return area_mm2(table, rows, table.mask_area[rows]) / 100
