"""RLE Lossless, PS3.5 annex G."""

from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from pneumo.dicom.encodings.encoding import Encoding, StoredValues, decode_compressed


def check(dataset: Dataset) -> None:
    """Check nothing: pydicom's decoder refuses segments that do not decode to the size in the DICOM header."""


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with pydicom's own decoder."""
    return decode_compressed(dataset, "pydicom")


ENCODING = Encoding(transfer_syntaxes=(RLELossless,), check=check, decode=decode)
