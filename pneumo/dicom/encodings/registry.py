"""The registry of encodings.

To add one: write a module beside this one that defines an ``ENCODING``, enter it below, and test it in
``tests/dicom/encodings/test_encoding_<name>.py``.
"""

from pydicom.dataset import Dataset
from pydicom.uid import UID, AllTransferSyntaxes

from pneumo.dicom.encodings import jpeg, jpeg2000, jpeg_lossless, jpeg_ls, native, rle
from pneumo.dicom.encodings.encoding import Encoding
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.dicom.values import transfer_syntax

ENCODINGS: dict[str, Encoding] = {
    "native": native.ENCODING,
    "jpeg": jpeg.ENCODING,
    "jpeg_lossless": jpeg_lossless.ENCODING,
    "jpeg_ls": jpeg_ls.ENCODING,
    "jpeg2000": jpeg2000.ENCODING,
    "rle": rle.ENCODING,
}
"""Every encoding that can be read, by the name of its module."""

BY_TRANSFER_SYNTAX = {str(uid): encoding for encoding in ENCODINGS.values() for uid in encoding.transfer_syntaxes}


def find(dataset: Dataset) -> Encoding:
    """Return the encoding of a dataset's pixel data.

    Raises:
        FileRejectedError: When the transfer syntax is not one that DICOM defines, or has no decoder here.
    """
    syntax = transfer_syntax(dataset)
    encoding = BY_TRANSFER_SYNTAX.get(syntax)
    if encoding is None:
        found, expected = "an unknown transfer syntax", "one that DICOM defines"
        if syntax in AllTransferSyntaxes:
            found, expected = UID(syntax).name, f"an encoding with a decoder: {', '.join(ENCODINGS)}"
        action = "convert it to an uncompressed transfer syntax, for example with gdcmconv --raw, or leave it out"
        raise FileRejectedError(Reason.UNSUPPORTED, "frame", found, expected, action)
    return encoding
