"""A JPEG frame without what it carries beside the picture.

A frame that is passed on as it is would take along whatever its writer put into comments and application segments:
names, dates, Exif, a thumbnail of the picture from before it was cropped. Nothing of that is needed to decode one gray
component, so it stays behind; the tables and the entropy-coded data are copied byte for byte.
"""

_SOS, _COMMENT, _APP0 = 0xDA, 0xFE, 0xE0
_APPLICATION = range(_APP0, 0xF0)
_JFIF, _JFIF_LENGTH = b"JFIF\0", 14
"""A JFIF segment's first bytes and its length without a thumbnail, whose size would stand in its last two bytes."""


def strip(frame: bytes) -> bytes:
    """Return the frame without comments and application segments, the frame itself where it has none.

    A JFIF segment without a thumbnail stays: it holds a version, a unit and the density of pixels.

    Args:
        frame: A bitstream that ``pneumo.dicom.jpeg.parse`` has accepted as baseline with one component.
    """
    kept = [frame[:2]]
    at, dropped = 2, False
    while (marker := frame[at + 1]) != _SOS:
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if _is_metadata(marker, frame[at + 4 : end]):
            dropped = True
        else:
            kept.append(frame[at:end])
        at = end
    return b"".join([*kept, frame[at:]]) if dropped else frame


def _is_metadata(marker: int, body: bytes) -> bool:
    if marker == _APP0 and len(body) == _JFIF_LENGTH and body.startswith(_JFIF):
        return body[-2:] != b"\0\0"
    return marker == _COMMENT or marker in _APPLICATION
