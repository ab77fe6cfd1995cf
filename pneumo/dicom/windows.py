"""The VOI window of an image, PS3.3 C.11.2.1.2 and C.11.2.1.3."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pneumo.dicom.values import numbers, text


class Window(NamedTuple):
    """A window on the values after the modality step."""

    center: float
    width: float
    function: str
    """A defined term of VOI LUT Function."""


def read(dataset: Dataset, notes: list[str]) -> Window | None:
    """Return the first window; None when there is none or it is unusable, which is noted."""
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not text(dataset, "WindowCenter") and not text(dataset, "WindowWidth"):
        return None
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append("unknown VOI LUT function taken as LINEAR")
        function = "LINEAR"
    narrow = not widths or widths[0] <= 0 or (function == "LINEAR" and widths[0] < 1)
    if not centers or narrow:
        notes.append("unusable window ignored")
        return None
    if len(centers) > 1:
        notes.append(f"first of {len(centers)} windows")
    return Window(centers[0], widths[0], function)


def apply(window: Window, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Map values through a window to levels of 0 black to 1 white."""
    center, width = window.center, window.width
    if window.function == "SIGMOID":
        # Few files need it, and it takes a tenth of a second of each start.
        from scipy.special import expit

        return np.asarray(expit(4 * (values - center) / width))
    if window.function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return np.where(values > center, 1.0, 0.0)
    return np.clip((values - center) / width + 0.5, 0, 1)
