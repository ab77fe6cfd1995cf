"""Removal of what a JPEG frame carries beside the image.

Comments and application segments may contain names, dates, Exif data, or a thumbnail of the image from before it was
cropped. None of it is needed to decode one gray component. The tables and the entropy-coded data are copied byte for
byte.
"""

from pneumo.dicom.jpeg_segments import APPLICATION, COMMENT, START_OF_IMAGE, START_OF_SCAN, Segment, segments

_APP0 = APPLICATION[0]
_JFIF, _JFIF_LENGTH = b"JFIF\0", 14
"""A JFIF segment's first bytes, and its length without a thumbnail, whose size is in its last two bytes."""


def strip(frame: bytes) -> bytes:
    """Return the frame without comments and application segments; the same object when it has none.

    A JFIF segment without a thumbnail is kept: it holds a version, a unit and the pixel density.

    Args:
        frame: A bitstream that ``jpeg_segments.read_header`` accepts.
    """
    kept, dropped = [START_OF_IMAGE], False
    for segment in segments(frame):
        if _is_metadata(segment):
            dropped = True
        else:
            kept.append(frame[segment.start : None if segment.marker == START_OF_SCAN else segment.end])
    return b"".join(kept) if dropped else frame


def _is_metadata(segment: Segment) -> bool:
    parameters = segment.parameters
    if segment.marker == _APP0 and len(parameters) == _JFIF_LENGTH and parameters.startswith(_JFIF):
        return parameters[-2:] != b"\0\0"
    return segment.marker == COMMENT or segment.marker in APPLICATION
