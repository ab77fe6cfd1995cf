"""Pixel data to the stored values of its first frame: which decoder reads them, which bits count, are they all there.

PS3.3 C.7.6.3.1 and PS3.5 section 8.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options, pixel_array
from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, JPEG2000TransferSyntaxes, JPEGBaseline8Bit, JPEGExtended12Bit

from pneumo.dicom import jpeg, jpeg2000
from pneumo.dicom.attributes import transfer_syntax
from pneumo.dicom.frames import LOSSLESS_JPEG, check_size, first_frame
from pneumo.dicom.rejection import DicomRejectedError, Reason
from pneumo.dicom.values import integer

DECODERS: dict[str, str] = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
}
"""gdcm, which pydicom asks first, ends the process on some damaged streams; JPEG Lossless and JPEG-LS have no other."""

Stored = npt.NDArray[np.integer]


def stored_values(dataset: Dataset) -> Stored:
    """Decode the first frame to (rows, columns) stored values, or (rows, columns, 3) of RGB when it is in colour.

    Bits above High Bit, which may hold an overlay or anything, are left out.

    Raises:
        Rejected: When a JPEG 2000 codestream is of another size than the header says, or signed where the header is
            not; when a JPEG Lossless scan is cut, or High Bit contradicts Bits Stored.
        Exception: Whatever pydicom and its decoders raise on damaged data.
    """
    syntax = transfer_syntax(dataset)
    if syntax in JPEG2000TransferSyntaxes:
        size = jpeg2000.read_size(first_frame(dataset))
        check_size(dataset, size.rows, size.columns, size.components)
        # The other way round is a known fault of some writers, which the header mends.
        if size.is_signed and integer(dataset, "PixelRepresentation") == 0:
            raise jpeg.bad_frame("a JPEG 2000 codestream of signed samples", "unsigned ones, as the DICOM header says")
    below = _bits_below(dataset)
    # pydicom takes the lowest bits, wherever High Bit is.
    bits: dict[str, Any] = {"bits_stored": integer(dataset, "BitsStored") + below} if below else {}
    stored = pixel_array(dataset, index=0, decoding_plugin=DECODERS.get(syntax, ""), **bits)
    if syntax in LOSSLESS_JPEG and not _is_whole(dataset, stored):
        raise jpeg.bad_frame("a JPEG scan that ends before the picture does", "a whole JPEG bitstream")
    return stored >> below


def _is_whole(dataset: Dataset, stored: Stored) -> bool:
    """Return whether a JPEG Lossless scan has all the values: gdcm makes some up for a scan that is cut.

    It makes up others, or fails, when more data follows. Of a whole scan it never looks at what follows.
    """
    options = as_pixel_options(dataset, number_of_frames=1)
    options.pop("extended_offsets", None)
    frame = encapsulate([jpeg.lengthened(first_frame(dataset))])
    try:
        again = get_decoder(transfer_syntax(dataset)).as_array(frame, index=0, **options)[0]
    except Exception:
        return False
    return np.array_equal(stored, again)


def _bits_below(dataset: Dataset) -> int:
    """Return how many bits of a sample lie below the ones stored: none in any recent file, but once allowed."""
    bits, allocated = integer(dataset, "BitsStored"), integer(dataset, "BitsAllocated")
    high = integer(dataset, "HighBit", bits - 1)
    if not bits or high == bits - 1:
        return 0
    if UID(transfer_syntax(dataset)).is_compressed or not bits <= high + 1 <= allocated:
        found = f"{bits} bits stored of {allocated} with the highest at {high}"
        raise DicomRejectedError(Reason.UNSUPPORTED, "render", found, f"the highest at {bits - 1}", "check the header")
    return high + 1 - bits
