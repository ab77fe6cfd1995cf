"""Render stored values to the image that a viewer shows: PS3.3 C.7.6.3, C.11.1, C.11.2 and C.7.5.1.

Each grayscale step is a function of the stored value. So the steps are computed once for each value that can occur,
and the pixels are looked up: the same result as computing on pixels, in a fraction of the time and memory.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from scipy.special import expit

from pneumo.dicom.attributes import PHOTOMETRICS
from pneumo.dicom.encodings import registry
from pneumo.dicom.encodings.encoding import StoredValues
from pneumo.dicom.pixel_data import number_of_frames
from pneumo.dicom.rejection import DicomRejectedError, Reason
from pneumo.dicom.values import integer, numbers, text

GRAY = ("MONOCHROME1", "MONOCHROME2")
WHITE = 65535
_CHECK_HEADER = "check the header"
Values = npt.NDArray[np.float64]


class Window(NamedTuple):
    """A VOI window on the values after the modality step."""

    center: float
    width: float
    function: str


class Rendered(NamedTuple):
    """A rendered image."""

    pixels: npt.NDArray[np.uint16]
    """(rows, columns), 0 black to 65535 white; dense tissue is white."""
    was_monochrome1: bool
    """Whether the lowest stored value is white, as in MONOCHROME1."""
    render_notes: tuple[str, ...]
    """Decisions that a user of the data may want to know, such as ``first of 4 frames``."""


def render(dataset: Dataset) -> Rendered:
    """Render the first frame to 16 bits.

    Modality LUT or rescale, then the first VOI LUT or else the first window, then the presentation LUT, then the
    inversion of MONOCHROME1 or Presentation LUT Shape INVERSE; padding becomes black. Without a VOI LUT or window the
    whole range of the bits stored is shown, or, for signed and rescaled values, the range that occurs. Color is
    converted to luma.

    Raises:
        DicomRejectedError: When the color space or the bits stored are not supported, or a lookup table is damaged.
        Exception: Whatever pydicom and its decoders raise on damaged data.
    """
    photometric = _check_color(dataset)
    count = number_of_frames(dataset)
    notes = [f"first of {count} frames"] if count > 1 else []
    stored = registry.find(dataset).decode(dataset)
    if photometric not in GRAY:
        notes.append(f"{photometric} rendered to gray")
        return Rendered(_luma(dataset, stored, photometric), False, tuple(notes))
    # A DX image in MONOCHROME1 has the shape INVERSE as well; that is one inversion, not two (PS3.3 C.8.11.3.1.2).
    inverted = photometric == "MONOCHROME1" or text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    return Rendered(_grayscale(dataset, stored, inverted, notes), inverted, tuple(notes))


def _check_color(dataset: Dataset) -> str:
    """Return the photometric interpretation, one that DICOM defines for this number of samples."""
    photometric, samples = text(dataset, "PhotometricInterpretation").upper(), integer(dataset, "SamplesPerPixel", 1)
    if photometric not in PHOTOMETRICS or samples != (1 if photometric in (*GRAY, "PALETTE COLOR") else 3):
        name = photometric if photometric in PHOTOMETRICS else "an unknown photometric interpretation"
        raise _unsupported(f"{name} with {samples} sample(s) a pixel", "grayscale or color as DICOM defines them")
    return photometric


def _unsupported(found: str, expected: str) -> DicomRejectedError:
    return DicomRejectedError(
        Reason.UNSUPPORTED, "render", found, expected, "export the image as 8- to 16-bit grayscale"
    )


def _luma(dataset: Dataset, stored: StoredValues, photometric: str) -> npt.NDArray[np.uint16]:
    """Return the luma (ITU-R BT.601) of a color frame, scaled from its bits to 16."""
    if photometric == "PALETTE COLOR":
        color = apply_color_lut(stored, dataset)[..., :3]
        white = np.iinfo(color.dtype).max
    else:
        color = stored
        white = (1 << integer(dataset, "BitsStored", 8)) - 1
    if color.dtype not in (np.uint8, np.uint16):
        raise _unsupported(f"color samples of type {color.dtype}", "8 or 16 bits a sample")
    gray = cv2.cvtColor(color.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return np.rint(np.minimum(gray, white) * (WHITE / white)).astype(np.uint16)


def _grayscale(dataset: Dataset, stored: StoredValues, inverted: bool, notes: list[str]) -> npt.NDArray[np.uint16]:
    values, indices = _distinct(stored)
    padding = _padding(dataset, values, notes)
    occurring = np.zeros(len(values), bool)
    occurring[indices.ravel()] = True
    shown = np.clip(_display(dataset, values.astype(np.float64), occurring & ~padding, notes), 0, WHITE)
    if dataset.get("PresentationLUTSequence"):
        item = dataset.PresentationLUTSequence[0]
        entries, white = _look_up(dataset, item, shown * ((_entries(item) - 1) / WHITE))
        shown = entries * (WHITE / white)
    levels = np.rint(shown)
    if inverted:
        levels = WHITE - levels
    levels[padding] = 0
    return levels.astype(np.uint16)[indices]


def _distinct(stored: StoredValues) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ascending values that include all that occur, and the index of each pixel's value among them."""
    low, high = int(stored.min()), int(stored.max())
    if high - low <= WHITE:
        return np.arange(low, high + 1), np.subtract(stored, low, dtype=np.int64)
    values, indices = np.unique(stored, return_inverse=True)
    return values.astype(np.int64), indices.reshape(stored.shape)


def _padding(dataset: Dataset, values: npt.NDArray[np.int64], notes: list[str]) -> npt.NDArray[np.bool_]:
    """Return which of the stored values are padding, PS3.3 C.7.5.1.1.2."""
    if "PixelPaddingValue" not in dataset:
        return np.zeros(values.shape, bool)
    value = dataset.PixelPaddingValue
    limit = dataset.get("PixelPaddingRangeLimit", value)
    if not isinstance(value, int) or not isinstance(limit, int):
        notes.append("unusable padding value ignored")
        return np.zeros(values.shape, bool)
    return (values >= min(value, limit)) & (values <= max(value, limit))


def _display(dataset: Dataset, values: Values, occurring: npt.NDArray[np.bool_], notes: list[str]) -> Values:
    """Return the display level, 0 to 65535 before rounding, of each stored value."""
    is_plain = integer(dataset, "PixelRepresentation") == 0
    if dataset.get("ModalityLUTSequence"):
        values, is_plain = _look_up(dataset, dataset.ModalityLUTSequence[0], values)[0], False
    elif (rescale := _rescale(dataset)) != (1, 0):
        values, is_plain = values * rescale[0] + rescale[1], False
    if dataset.get("VOILUTSequence"):
        entries, white = _look_up(dataset, dataset.VOILUTSequence[0], values)
        return entries * (WHITE / white)
    window = _window(dataset, notes)
    if window is not None:
        return _apply_window(values, window)
    if is_plain:
        return values * (WHITE / ((1 << integer(dataset, "BitsStored", 16)) - 1))
    return _stretch(values, values[occurring])


def _stretch(values: Values, occurring: Values) -> Values:
    """Stretch the range of the occurring values to all levels; an image of one value becomes black."""
    if not len(occurring) or occurring.min() == occurring.max():
        return np.zeros_like(values)
    low, high = float(occurring.min()), float(occurring.max())
    return (values - low) * (WHITE / (high - low))


def _rescale(dataset: Dataset) -> tuple[float, float]:
    """Return slope and intercept.

    Raises:
        DicomRejectedError: When one is present and is not a number.
    """
    found = [1.0, 0.0]
    for index, keyword in enumerate(("RescaleSlope", "RescaleIntercept")):
        if text(dataset, keyword):
            values = numbers(dataset, keyword)
            if len(values) != 1:
                raise DicomRejectedError(
                    Reason.UNSUPPORTED, "render", f"{keyword} that is not a number", "one", _CHECK_HEADER
                )
            found[index] = values[0]
    return found[0], found[1]


def _look_up(dataset: Dataset, item: Dataset, values: Values) -> tuple[Values, int]:
    """Map values through a LUT item; return them and the highest level that its descriptor allows (PS3.3 C.11.1.1).

    pydicom's own functions truncate the index into an 8-bit table to 8 bits and need a 16-bit word for each entry.

    Raises:
        DicomRejectedError: When the table has fewer entries than its descriptor declares.
    """
    _, first, bits = (int(part) for part in item.LUTDescriptor)
    count, data = _entries(item), item.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        data = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * count else "u1")
    entries = np.atleast_1d(np.asarray(data, np.float64))[:count]
    if len(entries) < count:
        found = f"a lookup table of {len(entries)} entries"
        raise DicomRejectedError(Reason.BAD_FRAME, "render", found, f"{count}, as its descriptor says", _CHECK_HEADER)
    white = (1 << bits) - 1
    return np.minimum(entries, white)[np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)], white


def _entries(item: Dataset) -> int:
    """Return the number of entries of a LUT: an unsigned number of 16 bits, in which 0 means 65536."""
    return int(item.LUTDescriptor[0]) % (1 << 16) or 1 << 16


def _window(dataset: Dataset, notes: list[str]) -> Window | None:
    """Return the first window, None when there is none or it is unusable."""
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


def _apply_window(values: Values, window: Window) -> Values:
    """Map values through a window to levels of 0 to 65535, PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
    center, width = window.center, window.width
    if window.function == "SIGMOID":
        return np.asarray(WHITE * expit(4 * (values - center) / width))
    if window.function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return np.where(values > center, float(WHITE), 0.0)
    return np.clip((values - center) / width + 0.5, 0, 1) * WHITE
