"""Lossless JPEG, ITU-T T.81 annex H."""

from pydicom.dataset import Dataset
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

from pneumo.dicom.encodings.encoding import (
    Bitstream,
    Encoding,
    StoredValues,
    check_high_bit,
    decode_compressed,
    header_notes,
)
from pneumo.dicom.gdcm_decoder import damage_refused, decode_jpeg
from pneumo.dicom.jpeg_segments import bitstream_and_notes, first_bitstream, read_header
from pneumo.dicom.pixel_data import check_size, contradiction
from pneumo.dicom.values import integer


def check(dataset: Dataset) -> Bitstream:
    """Check the header of the bitstream: the size, and a number of bits on which gdcm does not crash.

    Raises:
        FileRejectedError: When it is damaged or contradicts the DICOM header; gdcm refuses damaged Huffman tables.
    """
    frame, stray = bitstream_and_notes(dataset)
    header = read_header(frame)
    check_size(dataset, header.rows, header.columns, header.components)
    # Other combinations end gdcm's process.
    allocated = integer(dataset, "BitsAllocated")
    if not 2 <= header.precision <= allocated or allocated not in (8, 16):
        raise contradiction(f"a JPEG of {header.precision} bits in {allocated}", "bits that fit into 8 or 16")
    notes = header_notes(dataset, header.precision) + stray
    return Bitstream(precision=header.precision, notes=notes)


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with gdcm.

    Raises:
        FileRejectedError: When the scan is damaged or cut off, or High Bit contradicts Bits Stored.
    """
    frame = first_bitstream(dataset)
    precision = read_header(frame).precision
    if integer(dataset, "SamplesPerPixel", 1) != 1:
        with damage_refused():
            return decode_compressed(dataset, "gdcm", frame, precision)
    check_high_bit(dataset)
    return decode_jpeg(dataset, frame, precision)


ENCODING = Encoding(transfer_syntaxes=(JPEGLossless, JPEGLosslessSV1), check=check, decode=decode)
