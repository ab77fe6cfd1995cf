"""Connected components of a mask: removing the small ones, at one threshold or at all of them at once.

Without its small components, the mask {probability >= t} of a map is {opened map >= t}: the area opening gives each
pixel the highest value at which it is in a component that is large enough. (Vincent, Grayscale area openings and
closings, their efficient implementation and applications, 1993.) So what is left of the masks at every threshold is
counted in a single map.
"""

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.inference.histograms import BINS, equivalent_area

MOST_LABELED = BINS
"""Times the pixels of a map that ``open_by_area`` labels component by component, before it goes value by value."""
CALL = 4096
"""Pixels that take about as long to be labeled as the calls for a component, however small it is."""


def remove_small_components(mask: npt.NDArray[np.uint8], min_area: float) -> npt.NDArray[np.uint8]:
    """Return a 0/1 mask (rows, columns) without its 8-connected components smaller than ``min_area``.

    ``min_area`` is in pixels of a 1024x1024 image, as the areas of decision rules are.
    """
    labels, keep, _ = _components(mask, min_area, mask.size)
    kept: npt.NDArray[np.uint8] = keep[labels].astype(np.uint8)
    return kept


def open_by_area(bins: npt.NDArray[np.uint8], min_area: float) -> npt.NDArray[np.uint8]:
    """Return the opened map (rows, columns): at least b exactly where {bins >= b} has no small component, for b >= 1.

    A component is cut out and looked at alone at the next value that occurs in it, so that nothing is labeled beside
    it. A map of 1024x1024 with two smooth blobs takes 0.1 s of a core, one that is half covered by them 1 s, and one
    of uniform noise 2 to 3 s; maps of other sizes as much more or less as they have pixels. Where there are very many
    components, or their boxes overlap, the whole map is labeled at each value instead.

    Args:
        bins: (rows, columns) quantized probabilities.
        min_area: Smallest 8-connected component that is kept, in pixels of a 1024x1024 image.
    """
    opened = bins.copy()
    # Views of the opened map, the values in the same window where they belong to the component, and where it begins.
    components, left = [(opened, bins, 0)], MOST_LABELED * bins.size
    while components:
        window, values, level = components.pop()
        left -= values.size + CALL
        if left < 0:
            return _open_value_by_value(bins, min_area)
        mask = (values > level).view(np.uint8)
        if not mask.any():
            continue
        labels, keep, boxes = _components(mask, min_area, bins.size)
        if not keep[1:].all():
            window[~keep[labels] & mask.view(np.bool_)] = level
        level = int(cv2.minMaxLoc(values, mask)[0])
        for k in np.flatnonzero(keep).tolist():
            x, y, width, height = boxes[k].tolist()
            box = slice(y, y + height), slice(x, x + width)
            alone = values[box] if len(keep) == 2 else np.where(labels[box] == k, values[box], np.uint8(0))
            components.append((window[box], alone, level))
    return opened


def _open_value_by_value(bins: npt.NDArray[np.uint8], min_area: float) -> npt.NDArray[np.uint8]:
    """Do the same by the masks of all values in turn, which takes as long for any map of a size."""
    opened = np.zeros_like(bins)
    for value in np.unique(bins[bins > 0]).tolist():
        labels, keep, _ = _components((bins >= value).view(np.uint8), min_area, bins.size)
        opened[keep[labels]] = value
    return opened


def _components(
    mask: npt.NDArray[np.uint8], min_area: float, pixels: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
    """Return the labels (rows, columns) of a mask, 0 outside it, which are large enough (n,), and their boxes (n, 4).

    Args:
        mask: (rows, columns) 0 or 1, of an image or a part of it.
        min_area: In pixels of a 1024x1024 image.
        pixels: All pixels of the image.
    """
    labels: npt.NDArray[np.int32]
    statistics: npt.NDArray[np.int32]
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)  # type: ignore[assignment]
    keep = equivalent_area(statistics[:, cv2.CC_STAT_AREA], pixels) >= min_area
    keep[0] = False  # the background
    assert count == len(keep)
    return labels, keep, statistics[:, : cv2.CC_STAT_AREA]
