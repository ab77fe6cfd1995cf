"""The expected image of a file: pydicom's own processing, completed by the arithmetic of the standard.

Nothing here is shared with the code under test, which looks values up and asks other decoders.
"""

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_presentation_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

WHITE = 65535
LUMA = (0.299, 0.587, 0.114)


def render(dataset: Dataset, decoder: str = "") -> np.ndarray:
    """Return (rows, columns) levels of 0 to 65535, not rounded, of the first frame as a viewer shows it."""
    stored = stored_values(dataset, decoder)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        color = apply_color_lut(stored, dataset)
        return color[..., :3].astype(np.float64) @ LUMA * (WHITE / np.iinfo(color.dtype).max)
    if dataset.get("SamplesPerPixel", 1) == 3:
        # pydicom has made RGB of it.
        return stored.astype(np.float64) @ LUMA * (WHITE / ((1 << dataset.BitsStored) - 1))
    levels = gray(dataset, stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        levels = WHITE - levels
    levels[padding(dataset, stored)] = 0
    return levels


def stored_values(dataset: Dataset, decoder: str) -> np.ndarray:
    """Return the first frame's samples, which end at High Bit; pydicom always takes the lowest bits."""
    high = dataset.get("HighBit")
    below = high + 1 - dataset.BitsStored if isinstance(high, int) else 0
    if not below:
        return pixel_array(dataset, index=0, decoding_plugin=decoder)
    return pixel_array(dataset, index=0, decoding_plugin=decoder, bits_stored=dataset.BitsStored + below) >> below


def modality(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return the values after the modality step; pydicom ignores a slope without an intercept."""
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, dataset)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope in (None, "") and intercept in (None, ""):
        return stored
    return stored * float(1 if slope in (None, "") else slope) + float(intercept or 0)


def gray(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return the levels before inversion."""
    values = modality(dataset, stored)
    shown = apply_voi_lut(values, dataset).astype(np.float64)
    low, high = output_range(dataset, values[~padding(dataset, stored)])
    if low == high:
        return np.zeros(stored.shape)
    levels = np.clip((shown - low) / (high - low), 0, 1) * WHITE
    if "PresentationLUTSequence" in dataset:
        _, _, bits = dataset.PresentationLUTSequence[0].LUTDescriptor
        levels = apply_presentation_lut(levels, dataset) * (WHITE / ((1 << bits) - 1))
    return levels


def output_range(dataset: Dataset, values: np.ndarray) -> tuple[float, float]:
    """Return the values that become black and white: the ends of pydicom's output after a VOI step, PS3.3 C.11.2.

    Without one, the bits stored, or for signed and rescaled values what occurs; the standard leaves this open.
    """
    if dataset.get("VOILUTSequence"):
        return 0, (1 << dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
    signed = dataset.PixelRepresentation == 1
    half, full = 1 << (dataset.BitsStored - 1), 1 << dataset.BitsStored
    low, high = (-half, half - 1) if signed else (0, full - 1)
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    has_table = bool(dataset.get("ModalityLUTSequence"))
    if dataset.get("WindowWidth") not in (None, ""):
        if has_table:
            return 0, (1 << dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
        return low * slope + intercept, high * slope + intercept
    if signed or has_table or (slope, intercept) != (1, 0):
        return (float(values.min()), float(values.max())) if values.size else (0, 0)
    return low, high


def padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return which pixels are padding, PS3.3 C.7.5.1.1.2."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    return (stored >= min(value, limit)) & (stored <= max(value, limit))
