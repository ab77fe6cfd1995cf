"""What a JPEG 2000 codestream says of its size and its samples' sign, ITU-T T.800 annex A.5.

Decoders allocate as much as it claims, and differ in what they make of signed samples that the DICOM header does not
tell of.
"""

from typing import NamedTuple

from pneumo.dicom.jpeg import bad_frame

_SOC_SIZ = b"\xff\x4f\xff\x51"
"""Start of codestream and the marker of the size segment, which always comes first; a JP2 file has boxes before."""


class Size(NamedTuple):
    """The image area and the samples of a codestream."""

    rows: int
    columns: int
    components: int
    is_signed: bool
    """Whether the samples of any component are."""


def read_size(frame: bytes) -> Size:
    """Read the size segment.

    Raises:
        Rejected: When there is none.
    """
    start = frame.find(_SOC_SIZ)
    segment = frame[start + 8 : start + 42]
    if start < 0 or len(segment) < 34:
        raise bad_frame("no start of codestream", "a JPEG 2000 codestream")
    right, bottom, left, top = (int.from_bytes(segment[at : at + 4], "big") for at in range(0, 16, 4))
    components = int.from_bytes(segment[32:34], "big")
    depths = frame[start + 42 : start + 42 + 3 * components : 3]
    return Size(bottom - top, right - left, components, any(depth & 0x80 for depth in depths))
