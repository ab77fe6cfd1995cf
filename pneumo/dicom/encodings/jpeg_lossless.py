"""Lossless JPEG, ITU-T T.81 annex H."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

from pneumo.dicom.encodings.encoding import Encoding, StoredValues, decode_compressed
from pneumo.dicom.jpeg_segments import END_OF_IMAGE, read_header
from pneumo.dicom.pixel_data import bad_frame, check_size, first_frame
from pneumo.dicom.values import integer, transfer_syntax

_PLUGIN = "gdcm"
"""The only decoder of lossless JPEG among the project's dependencies."""
_SURPLUS = bytes(range(1, 255))


def check(dataset: Dataset) -> None:
    """Check the header of the bitstream: the size, and a number of bits on which gdcm does not crash.

    Raises:
        DicomRejectedError: When it is damaged or contradicts the DICOM header; gdcm refuses damaged Huffman tables.
    """
    header = read_header(first_frame(dataset))
    check_size(dataset, header.rows, header.columns, header.components)
    # Other combinations end gdcm's process.
    allocated = integer(dataset, "BitsAllocated")
    if header.precision > allocated or allocated not in (8, 16):
        raise bad_frame(f"a JPEG of {header.precision} bits in {allocated}", "bits that fit into 8 or 16")


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with gdcm.

    Raises:
        DicomRejectedError: When the scan is cut off, or High Bit contradicts Bits Stored.
    """
    stored = decode_compressed(dataset, _PLUGIN)
    if not _has_all_values(dataset, stored):
        raise bad_frame("a JPEG scan that ends before the image does", "a whole JPEG bitstream")
    return stored


def _has_all_values(dataset: Dataset, stored: StoredValues) -> bool:
    """Return whether the scan has all the values: gdcm fills in values where a scan is cut off.

    With more entropy-coded data behind the scan, it fills in other values, or fails. Behind a complete scan it ignores
    them.
    """
    options = as_pixel_options(dataset, number_of_frames=1)
    options.pop("extended_offsets", None)
    frame = first_frame(dataset)
    end = frame.rindex(END_OF_IMAGE)
    lengthened = encapsulate([frame[:end] + _SURPLUS + frame[end:]])
    decoder = get_decoder(transfer_syntax(dataset))
    try:
        again = decoder.as_array(lengthened, index=0, decoding_plugin=_PLUGIN, **options)[0]
    except Exception:
        return False
    return np.array_equal(stored, again)


ENCODING = Encoding(transfer_syntaxes=(JPEGLossless, JPEGLosslessSV1), check=check, decode=decode)
