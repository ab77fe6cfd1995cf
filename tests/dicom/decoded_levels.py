"""What the reader makes of a file, and the levels that it should have."""

from pathlib import Path

import numpy as np

from pneumo.dicom import image_codec, reader


def shown(path: Path) -> np.ndarray:
    """Return the picture of a file as 16-bit levels, whatever the member is."""
    pixels = image_codec.decode(reader.read(path).data)
    return pixels.astype(np.int64) * (65535 // np.iinfo(pixels.dtype).max)


def spread(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the levels of values of which the lowest and the highest occur."""
    low = -(1 << bits - 1) if values.dtype.kind == "i" else 0
    return np.rint((values.astype(np.float64) - low) / ((1 << bits) - 1) * 65535)
