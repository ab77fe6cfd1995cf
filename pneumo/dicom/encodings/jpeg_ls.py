"""JPEG-LS, lossless and near-lossless, ITU-T T.87; its segments are those of JPEG."""

from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless

from pneumo.dicom.encodings.encoding import Encoding, StoredValues, decode_compressed
from pneumo.dicom.encodings.jpeg_lossless import check


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with gdcm, the only decoder of JPEG-LS among the project's dependencies."""
    return decode_compressed(dataset, "gdcm")


ENCODING = Encoding(transfer_syntaxes=(JPEGLSLossless, JPEGLSNearLossless), check=check, decode=decode)
