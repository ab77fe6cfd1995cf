"""The levels of the image that the reader returns, and those that it should have."""

from pathlib import Path

import numpy as np

from pneumo.dicom import image_codec, image_file


def shown(path: Path) -> np.ndarray:
    """Return the image of a file as 16-bit levels, whether it is a JPEG or a PNG."""
    pixels = image_codec.decode(image_file.read(path).data)
    return pixels.astype(np.int64) * (65535 // np.iinfo(pixels.dtype).max)


def spread(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the levels of values when the whole range of ``bits`` bits is shown."""
    low = -(1 << bits - 1) if values.dtype.kind == "i" else 0
    return np.rint((values.astype(np.float64) - low) / ((1 << bits) - 1) * 65535)
