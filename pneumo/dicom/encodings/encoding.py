"""What an encoding is: its transfer syntaxes, the check of its bitstream and its decoder."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from pneumo.dicom.rejection import DicomRejectedError, Reason
from pneumo.dicom.values import integer

StoredValues = npt.NDArray[np.integer]
"""(rows, columns), or (rows, columns, 3) of RGB for a color image."""


def no_check(dataset: Dataset) -> None:
    """Check nothing, for a decoder that refuses all that is damaged."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One family of transfer syntaxes with the same bitstream format."""

    transfer_syntaxes: tuple[UID, ...]
    check: Callable[[Dataset], None] = no_check
    """Checks the first frame's bitstream before a decoder gets it.

    Raises ``DicomRejectedError`` when it is damaged or contradicts the DICOM header, and whatever pydicom raises on
    damaged encapsulation.
    """
    decode: Callable[[Dataset], StoredValues]
    """Decodes the first frame, without the bits above High Bit, which may hold an overlay.

    Raises ``DicomRejectedError`` when High Bit contradicts Bits Stored or the decoder returned part of an image, and
    whatever pydicom and its decoders raise on damaged data.
    """


def decode_compressed(dataset: Dataset, plugin: str) -> StoredValues:
    """Decode the first frame with one of pydicom's decoder plugins.

    Args:
        dataset: An image in a compressed transfer syntax.
        plugin: The plugin's name. Without one, pydicom tries gdcm first, which ends the process on some damaged
            bitstreams, and the result depends on which plugins are installed.
    """
    # It is not defined whether a decoder shifts the values down to bit 0.
    if unused_low_bits(dataset):
        raise high_bit_rejection(dataset)
    return pixel_array(dataset, index=0, decoding_plugin=plugin)


def unused_low_bits(dataset: Dataset) -> int:
    """Return how many bits of a sample are below the stored ones, PS3.5 8.1.1; negative for a High Bit too low."""
    bits = integer(dataset, "BitsStored")
    return integer(dataset, "HighBit", bits - 1) + 1 - bits if bits else 0


def high_bit_rejection(dataset: Dataset) -> DicomRejectedError:
    """Return the rejection of an image whose High Bit contradicts its Bits Stored or its encoding."""
    bits, allocated, high = (integer(dataset, keyword) for keyword in ("BitsStored", "BitsAllocated", "HighBit"))
    found = f"{bits} bits stored of {allocated} with the highest at {high}"
    return DicomRejectedError(Reason.UNSUPPORTED, "render", found, f"the highest at {bits - 1}", "check the header")
