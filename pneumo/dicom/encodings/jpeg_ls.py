"""JPEG-LS, lossless and near-lossless, ITU-T T.87; its segments are those of JPEG."""

from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless

from pneumo.dicom.encodings import jpeg_lossless
from pneumo.dicom.encodings.encoding import Bitstream, Encoding, StoredValues, decode_compressed
from pneumo.dicom.jpeg_segments import first_bitstream, read_header
from pneumo.dicom.rejection import FileRejectedError, Reason

_NOT_DECODED = (6, 7)
"""Bits of a sample for which gdcm returns other values."""


def check(dataset: Dataset) -> Bitstream:
    """Check the header of the bitstream like that of lossless JPEG.

    Raises:
        FileRejectedError: When it is damaged or contradicts the DICOM header, or has a number of bits that gdcm does
            not decode.
    """
    bitstream = jpeg_lossless.check(dataset)
    if bitstream.precision in _NOT_DECODED:
        found, action = (
            f"JPEG-LS of {bitstream.precision} bits",
            "convert it to an uncompressed transfer syntax, for example with dcmdjpls",
        )
        raise FileRejectedError(Reason.UNSUPPORTED, "frame", found, "another number of bits", action)
    return bitstream


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with gdcm, the only decoder of JPEG-LS among the project's dependencies."""
    frame = first_bitstream(dataset)
    return decode_compressed(dataset, "gdcm", frame, read_header(frame).precision)


ENCODING = Encoding(transfer_syntaxes=(JPEGLSLossless, JPEGLSNearLossless), check=check, decode=decode)
