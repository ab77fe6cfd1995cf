"""JPEG 2000, ITU-T T.800, and High-Throughput JPEG 2000, ITU-T T.814, which has the same size segment."""

from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000Lossless

from pneumo.dicom.encodings.encoding import Bitstream, Encoding, StoredValues, decode_compressed, header_notes
from pneumo.dicom.pixel_data import bad_frame, check_size, contradiction, first_frame
from pneumo.dicom.values import integer

_SOC_SIZ = b"\xff\x4f\xff\x51"
"""Start of codestream and the marker of the size segment, which always comes first; a JP2 file has boxes before."""
_MOST_BITS = 32
"""OpenJPEG decodes to integers of 32 bits."""


class Size(NamedTuple):
    """The image area and the samples of a codestream, by its size segment (T.800 A.5.1)."""

    rows: int
    columns: int
    components: int
    is_signed: bool
    """Whether the samples of any component are signed."""
    precision: int
    """Bits of a sample, the most of any component."""


def check(dataset: Dataset) -> Bitstream:
    """Check the codestream's size, for which decoders allocate memory, and the sign of its samples.

    Raises:
        FileRejectedError: When they contradict the DICOM header.
    """
    size = read_size(first_frame(dataset))
    check_size(dataset, size.rows, size.columns, size.components)
    # Decoders disagree about this case. For the reverse, a known error of some writers, pydicom follows the header.
    if size.is_signed and integer(dataset, "PixelRepresentation") == 0:
        raise contradiction("a JPEG 2000 codestream of signed samples", "unsigned ones, as the DICOM header says")
    if not 1 <= size.precision <= _MOST_BITS:
        raise bad_frame(f"a JPEG 2000 codestream of {size.precision} bits", f"1 to {_MOST_BITS}")
    return Bitstream(precision=size.precision, notes=header_notes(dataset, size.precision))


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with OpenJPEG, by way of pylibjpeg."""
    return decode_compressed(dataset, "pylibjpeg", precision=read_size(first_frame(dataset)).precision)


def read_size(frame: bytes) -> Size:
    """Read the size segment of a codestream.

    Raises:
        FileRejectedError: When there is none.
    """
    start = frame.find(_SOC_SIZ)
    segment = frame[start + 8 : start + 42]
    if start < 0 or len(segment) < 34:
        raise bad_frame("no start of codestream", "a JPEG 2000 codestream")
    right, bottom, left, top = (int.from_bytes(segment[at : at + 4], "big") for at in range(0, 16, 4))
    components = int.from_bytes(segment[32:34], "big")
    depths = frame[start + 42 : start + 42 + 3 * components : 3]
    signed, precision = any(depth & 0x80 for depth in depths), 1 + max((depth & 0x7F for depth in depths), default=-1)
    return Size(bottom - top, right - left, components, signed, precision)


ENCODING = Encoding(
    transfer_syntaxes=(JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), check=check, decode=decode
)
