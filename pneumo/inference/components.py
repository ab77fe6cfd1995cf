"""Connected components of a mask: removing the small ones."""

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.inference.histograms import equivalent_area


def remove_small_components(mask: npt.NDArray[np.uint8], min_area: float) -> npt.NDArray[np.uint8]:
    """Return a 0/1 mask (rows, columns) without its 8-connected components smaller than ``min_area``.

    ``min_area`` is in pixels of a 1024x1024 image, as the areas of decision rules are.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    keep = equivalent_area(statistics[:, cv2.CC_STAT_AREA], mask.size) >= min_area
    keep[0] = False  # the background
    assert count == len(keep)
    kept: npt.NDArray[np.uint8] = keep[labels].astype(np.uint8)
    return kept
