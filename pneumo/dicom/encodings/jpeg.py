"""Lossy JPEG of 8 bits, ITU-T T.81."""

import re

import simplejpeg
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from pneumo.dicom.encodings.encoding import Encoding, StoredValues, decode_compressed
from pneumo.dicom.file_ends import PADDING_BYTES
from pneumo.dicom.jpeg_segments import BASELINE, END_OF_IMAGE, JpegHeader, read_header
from pneumo.dicom.pixel_data import bad_frame, check_size, first_frame
from pneumo.dicom.rejection import DicomRejectedError, Reason, describe

_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends a scan; restart markers do not, and FF 00 is a byte of entropy-coded data."""


def check(dataset: Dataset) -> None:
    """Check that the bitstream is whole, has the size in the DICOM header and decodes without a warning.

    Raises:
        DicomRejectedError: When it is damaged or contradicts the header, or the samples do not have 8 bits.
    """
    frame = first_frame(dataset)
    header = read_header(frame)
    check_size(dataset, header.rows, header.columns, header.components)
    check_bitstream(frame, header)


def check_bitstream(frame: bytes, header: JpegHeader) -> None:
    """Check a bitstream by itself, from a DICOM or a JPEG file.

    Raises:
        DicomRejectedError: When it is damaged, or the samples do not have 8 bits.
    """
    if header.precision != 8:
        raise DicomRejectedError(
            Reason.UNSUPPORTED,
            "frame",
            f"a lossy JPEG of {header.precision} bits",
            "8 bits, or another compression",
            "convert the file to an uncompressed transfer syntax, for example with dcmdjpeg",
        )
    check_decodes(frame)
    if header.process == BASELINE and header.components == 1:
        _check_baseline(frame, header)


def check_decodes(frame: bytes) -> None:
    """Decode the bitstream once and treat the decoder's warnings as errors.

    Decoders return an image for whatever they are given: a scan that is cut off becomes an image that is gray from
    there on. All of the entropy-coded data is read here, but the image is only made at an eighth of its size. No
    decoder can detect damage after which the codes happen to fit together again with the right number of blocks.

    Raises:
        DicomRejectedError: When the scan ends early or late, contains a marker or a code that is not in its tables,
            or does not fit the frame header, and when a table is damaged.
    """
    try:
        simplejpeg.decode_jpeg(frame, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        raise bad_frame(f"JPEG data that does not decode: {describe(error)}", "a whole JPEG bitstream") from None


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with Pillow."""
    return decode_compressed(dataset, "pillow")


def _check_baseline(frame: bytes, header: JpegHeader) -> None:
    """Check what libjpeg-turbo accepts without a warning although it should not be in a baseline bitstream.

    Of 290,000 bitstreams with flipped bits, replaced bytes, inserted or removed segments, these remained: a missing
    Huffman table, for which libjpeg-turbo takes the one in the standard's annex K and other decoders fail; segments
    between the scan and the end, such as comments, which would get past ``jpeg_metadata``; data behind the end.
    """
    if not header.scan_tables <= header.huffman_tables:
        raise bad_frame("a JPEG scan without its Huffman tables", "a baseline JPEG bitstream")
    # Encoders write one scan for one component.
    marker = _END_OF_SCAN.search(frame, header.scan)
    if marker is None or marker[0] != END_OF_IMAGE or frame[marker.end() :].strip(PADDING_BYTES):
        at = len(frame) if marker is None else marker.start()
        raise bad_frame(f"a marker or data behind the scan, at byte {at} of {len(frame)}", "one scan and the end")


ENCODING = Encoding(transfer_syntaxes=(JPEGBaseline8Bit, JPEGExtended12Bit), check=check, decode=decode)
