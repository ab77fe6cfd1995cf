"""Render stored values to the image that a viewer shows: PS3.3 C.7.6.3, C.11.1, C.11.2, C.11.6 and C.7.5.1.

Each grayscale step is a function of the stored value. So the steps are computed once for each value that can occur,
and the pixels are looked up: the same result as computing on pixels, in a fraction of the time and memory.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pneumo.dicom import lookup_tables, palettes, stored_bits, windows
from pneumo.dicom.attributes import PHOTOMETRICS
from pneumo.dicom.encodings import registry
from pneumo.dicom.encodings.encoding import FLAT, StoredValues
from pneumo.dicom.lookup_tables import InputRange, Values
from pneumo.dicom.pixel_data import number_of_frames
from pneumo.dicom.rejection import CORRECT_HEADER, FileRejectedError, Reason
from pneumo.dicom.stored_bits import StoredBits
from pneumo.dicom.values import first_item, integer, numbers, text, words
from pneumo.runtime.errors import counted

GRAY = ("MONOCHROME1", "MONOCHROME2")
WHITE = 65535

_BEYOND = "pixels above Bits Stored keep their value"

Mask = npt.NDArray[np.bool_]


class Rendered(NamedTuple):
    """A rendered image."""

    pixels: npt.NDArray[np.uint16]
    """(rows, columns), 0 black to 65535 white; dense tissue is white."""
    was_monochrome1: bool
    """Whether the lowest stored value is white, as in MONOCHROME1."""
    render_notes: tuple[str, ...]
    """Decisions that a user of the data may want to know, such as ``first of 4 frames``; job/QUARANTINE.md has all."""


def render(dataset: Dataset, precision: int = 0) -> Rendered:
    """Render the first frame to 16 bits.

    Modality LUT or rescale, then the first VOI LUT or else the first window, then the presentation LUT, then the
    inversion of MONOCHROME1 or Presentation LUT Shape INVERSE; padding becomes black. Without a VOI LUT or window the
    whole range of the bits stored is shown, or, for signed and rescaled values, the range that occurs. Color is
    converted to luma.

    Args:
        dataset: The image, with the display elements of its first frame at the top level.
        precision: Bits of a sample in the codestream, 0 when the encoding has none.

    Raises:
        FileRejectedError: When the color space or the bits stored are not supported, or a display element contradicts
            itself.
        Exception: Whatever pydicom and its decoders raise on damaged data.
    """
    photometric = _check_color(dataset)
    if "PixelRepresentation" not in dataset:
        raise _unsupported("no Pixel Representation", "signed or unsigned samples")
    count = number_of_frames(dataset)
    notes = [f"first of {count} frames"] if count > 1 else []
    stored = registry.find(dataset).decode(dataset)
    bits = stored_bits.find(dataset, precision)
    if photometric in GRAY:
        inverted = _is_inverted(dataset, photometric, notes)
        pixels = _grayscale(dataset, stored, bits, inverted, notes)
    else:
        notes.append(f"{photometric} rendered to gray")
        inverted, pixels = False, _luma(dataset, stored, bits, notes)
        if pixels.min() == pixels.max():
            notes.append(FLAT)
    return Rendered(pixels, inverted, tuple(dict.fromkeys(notes)))


def _check_color(dataset: Dataset) -> str:
    """Return the photometric interpretation, one that DICOM defines for this number of samples."""
    photometric, samples = text(dataset, "PhotometricInterpretation").upper(), integer(dataset, "SamplesPerPixel", 1)
    if photometric not in PHOTOMETRICS or samples != (1 if photometric in (*GRAY, "PALETTE COLOR") else 3):
        name = photometric if photometric in PHOTOMETRICS else "an unknown photometric interpretation"
        raise _unsupported(
            f"{name} with {counted(samples, 'sample')} a pixel", "grayscale or color as DICOM defines them"
        )
    return photometric


def _unsupported(found: str, expected: str) -> FileRejectedError:
    return FileRejectedError(
        Reason.UNSUPPORTED, "render", found, expected, "export the image as 8- to 16-bit grayscale"
    )


def _is_inverted(dataset: Dataset, photometric: str, notes: list[str]) -> bool:
    """Return whether the lowest value is white.

    DX images in MONOCHROME1 have the shape INVERSE as well, those in MONOCHROME2 the shape IDENTITY (PS3.3
    C.8.11.3.1.2). Of MONOCHROME1 with IDENTITY, the photometric interpretation is taken: every image must have it,
    while some writers give all images the shape IDENTITY.
    """
    shape = text(dataset, "PresentationLUTShape").upper()
    if photometric == "MONOCHROME1":
        if shape == "IDENTITY":
            notes.append("MONOCHROME1 with Presentation LUT Shape IDENTITY shown inverted, as MONOCHROME1")
        return True
    if shape == "INVERSE":
        notes.append("MONOCHROME2 with Presentation LUT Shape INVERSE shown inverted")
    elif shape not in ("", "IDENTITY"):
        notes.append("unknown Presentation LUT Shape ignored")
    return shape == "INVERSE"


def _luma(dataset: Dataset, stored: StoredValues, bits: StoredBits, notes: list[str]) -> npt.NDArray[np.uint16]:
    """Return the luma (ITU-R BT.601) of a color frame, scaled from its bits to 16."""
    values = stored_bits.numbers_of(dataset, stored, bits)
    if bits.is_beyond(values).any():
        notes.append(_BEYOND)
    if stored.ndim == 2:
        color = palettes.to_rgb(dataset, values, InputRange(bits.lowest, bits.highest), notes)
    else:
        if bits.is_signed or bits.bits > 16:
            raise _unsupported("color of signed samples or more than 16 bits", "unsigned samples of 8 or 16 bits")
        color = values / bits.highest
    gray = cv2.cvtColor(color.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return np.asarray(np.rint(np.minimum(gray, 1) * WHITE), np.uint16)


def _grayscale(
    dataset: Dataset, stored: StoredValues, bits: StoredBits, inverted: bool, notes: list[str]
) -> npt.NDArray[np.uint16]:
    distinct, indices = _distinct(stored)
    values = stored_bits.numbers_of(dataset, distinct, bits)
    occurring = np.zeros(len(values), bool)
    occurring[indices.ravel()] = True
    padding = _padding(dataset, values, occurring, bits, notes)
    shown, beyond = occurring & ~padding, bits.is_beyond(values)
    if (shown & beyond).any():
        notes.append(_BEYOND)
    levels = np.clip(_display(dataset, values.astype(np.float64), shown & ~beyond, bits, notes), 0, 1)
    item = first_item(dataset, "PresentationLUTSequence")
    if item is not None:
        levels = _present(item, levels, notes)
    levels = np.rint(levels * WHITE)
    if inverted:
        levels = WHITE - levels
    if len(np.unique(levels[shown])) == 1:
        notes.append(FLAT)
    levels[padding] = 0
    return levels.astype(np.uint16)[indices]


def _distinct(stored: StoredValues) -> tuple[StoredValues, npt.NDArray[np.int64]]:
    """Return ascending values that include all that occur, and the index of each pixel's value among them."""
    low, high = int(stored.min()), int(stored.max())
    if high - low <= WHITE:
        return np.arange(low, high + 1).astype(stored.dtype), np.subtract(stored, low, dtype=np.int64)
    values, indices = np.unique(stored, return_inverse=True)
    return values, indices.reshape(stored.shape)


def _padding(
    dataset: Dataset, values: npt.NDArray[np.int64], occurring: Mask, bits: StoredBits, notes: list[str]
) -> Mask:
    """Return which of the values are padding, PS3.3 C.7.5.1.1.2; none when all that occur would be."""
    none = np.zeros(values.shape, bool)
    if "PixelPaddingValue" not in dataset:
        return none
    value = words(dataset, "PixelPaddingValue")
    limit = words(dataset, "PixelPaddingRangeLimit") if "PixelPaddingRangeLimit" in dataset else value
    if len(value) != 1 or len(limit) != 1:
        notes.append("unusable padding value ignored")
        return none
    ends = [int(end[0].astype(np.int16) if bits.is_signed else end[0]) for end in (value, limit)]
    padding = (values >= min(ends)) & (values <= max(ends))
    if padding[occurring].all():
        notes.append("padding value of every pixel ignored")
        return none
    return padding


def _display(dataset: Dataset, values: Values, shown: Mask, bits: StoredBits, notes: list[str]) -> Values:
    """Return the level, 0 to 1, of each value; those beyond stand for the nearest."""
    range_, is_plain = InputRange(bits.lowest, bits.highest), not bits.is_signed
    modality = first_item(dataset, "ModalityLUTSequence")
    if modality is not None:
        table = lookup_tables.read(modality, range_, notes)
        values, range_, is_plain = table.look_up(values), InputRange(0, table.white), False
    elif (rescale := _rescale(dataset, notes)) != (1, 0):
        values, range_ = _rescaled(values, range_, rescale)
        is_plain = False
    voi = first_item(dataset, "VOILUTSequence")
    if voi is not None:
        table = lookup_tables.read(voi, range_, notes)
        return table.look_up(values) / table.white
    window = windows.read(dataset, notes)
    if window is not None:
        return windows.apply(window, values)
    if is_plain:
        return values / bits.highest
    return _stretch(values, values[shown])


def _stretch(values: Values, occurring: Values) -> Values:
    """Stretch the range of the occurring values to all levels; an image of one value becomes black."""
    if not len(occurring) or occurring.min() == occurring.max():
        return np.zeros_like(values)
    low, high = float(occurring.min()), float(occurring.max())
    return (values - low) / (high - low)


def _present(item: Dataset, levels: Values, notes: list[str]) -> Values:
    """Map levels through a presentation LUT, whose entries are spread over all of them (PS3.3 C.11.6.1)."""
    last = lookup_tables.read_descriptor(item, "LUTDescriptor").length - 1
    table = lookup_tables.read(item, InputRange(0, last), notes)
    return table.look_up(levels * last + table.first) / table.white


def _rescale(dataset: Dataset, notes: list[str]) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0, which would make all values one, is left out with its intercept.

    Raises:
        FileRejectedError: When one is present and is not a number.
    """
    found = [1.0, 0.0]
    for index, keyword in enumerate(("RescaleSlope", "RescaleIntercept")):
        if text(dataset, keyword):
            values = numbers(dataset, keyword)
            if len(values) != 1:
                raise FileRejectedError(
                    Reason.UNSUPPORTED, "render", f"{keyword} that is not a number", "one", CORRECT_HEADER
                )
            found[index] = values[0]
    if found[0] == 0:
        notes.append("rescale with a slope of 0 ignored")
        return 1, 0
    return found[0], found[1]


def _rescaled(values: Values, range_: InputRange, rescale: tuple[float, float]) -> tuple[Values, InputRange]:
    """Return the rescaled values and their possible range.

    Raises:
        FileRejectedError: When they are too large for numbers.
    """
    slope, intercept = rescale
    with np.errstate(over="ignore", invalid="ignore"):
        values = values * slope + intercept
        ends = [end * slope + intercept for end in range_]
        span = max(ends) - min(ends)
    if not (np.isfinite(values).all() and np.isfinite(span)):
        found = "a rescale to values beyond the largest number"
        raise FileRejectedError(Reason.BAD_FRAME, "render", found, "values of an X-ray image", CORRECT_HEADER)
    return values, InputRange(min(ends), max(ends))
