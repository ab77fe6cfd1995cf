"""Uncompressed pixel data, PS3.5 8.1; deflated files are inflated when they are parsed."""

from typing import Any

from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pneumo.dicom.encodings.encoding import Encoding, StoredValues, high_bit_rejection, unused_low_bits
from pneumo.dicom.values import integer


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame; High Bit may be above Bits Stored - 1, as DICOM once allowed.

    pydicom refuses pixel data that is too short.
    """
    below, bits = unused_low_bits(dataset), integer(dataset, "BitsStored")
    if below and not 0 < below <= integer(dataset, "BitsAllocated") - bits:
        raise high_bit_rejection(dataset)
    # pydicom takes the lowest bits, wherever High Bit is.
    options: dict[str, Any] = {"bits_stored": bits + below} if below else {}
    return pixel_array(dataset, index=0, **options) >> below


ENCODING = Encoding(
    transfer_syntaxes=(
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ),
    decode=decode,
)
