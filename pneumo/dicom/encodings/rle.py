"""RLE Lossless, PS3.5 annex G."""

from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from pneumo.dicom.encodings.encoding import Encoding, StoredValues, decode_compressed


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with pydicom's decoder, which refuses segments that do not decode to its size."""
    return decode_compressed(dataset, "pydicom")


ENCODING = Encoding(transfer_syntaxes=(RLELossless,), decode=decode)
