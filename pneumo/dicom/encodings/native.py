"""Uncompressed pixel data, PS3.5 8.1; deflated files are inflated when they are parsed."""

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
    below, bits, allocated = unused_low_bits(dataset), integer(dataset, "BitsStored"), integer(dataset, "BitsAllocated")
    if below and not 0 < below <= allocated - bits:
        raise high_bit_rejection(dataset)
    return pixel_array(dataset, index=0, correct_unused_bits=False) >> below


ENCODING = Encoding(
    transfer_syntaxes=(
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ),
    decode=decode,
)
