"""Removal of what a JPEG frame carries beside the image.

Comments and application segments may contain names, dates, Exif data, or a thumbnail of the image from before it was
cropped; tables that the scan does not use may contain any bytes. None of it is needed to decode one gray component.
The tables in use and the entropy-coded data are copied byte for byte.
"""

from pneumo.dicom.jpeg_segments import (
    APPLICATION,
    COMMENT,
    DHT,
    DQT,
    DRI,
    START_OF_IMAGE,
    START_OF_SCAN,
    JpegHeader,
    Segment,
    segments,
    tables,
)

_JFIF, _JFIF_LENGTH = b"JFIF\0", 14
"""A JFIF segment's first bytes, and its length without a thumbnail, whose size is in its last two bytes."""


def strip(frame: bytes, header: JpegHeader) -> bytes:
    """Return the frame with what its scan needs; the same object when it has nothing else.

    The first JFIF segment without a thumbnail is kept: it holds a version, a unit and the pixel density.

    Args:
        frame: A bitstream of one component.
        header: What ``jpeg_segments.read_header`` has found in it.
    """
    found = list(segments(frame))
    kept = _needed(found, header)
    if kept == [segment.parameters for segment in found]:
        return frame
    pieces = [START_OF_IMAGE]
    for segment, parameters in zip(found, kept, strict=True):
        if segment.marker == START_OF_SCAN:
            pieces.append(frame[segment.start :])
        elif parameters:
            pieces.append(bytes([0xFF, segment.marker]) + (len(parameters) + 2).to_bytes(2, "big") + parameters)
    return b"".join(pieces)


def _needed(found: list[Segment], header: JpegHeader) -> list[bytes]:
    """Return the parameters of each segment as far as the scan needs them.

    Of a table that is defined several times, only the last definition before the scan is used.
    """
    wanted = {(DHT, table) for table in header.scan_tables} | {(DQT, header.quantization_table), (DRI, 0)}
    kept, jfif = list[bytes](), next(filter(_is_plain_jfif, found), None)
    for segment in reversed(found):
        if segment.marker not in (DHT, DQT, DRI):
            is_metadata = segment != jfif and (segment.marker == COMMENT or segment.marker in APPLICATION)
            kept.append(b"" if is_metadata else segment.parameters)
            continue
        parts = list[bytes]()
        for number, part in reversed(list(tables(segment))):
            if (segment.marker, number) in wanted:
                wanted.remove((segment.marker, number))
                parts.insert(0, part)
        kept.append(b"".join(parts))
    return kept[::-1]


def _is_plain_jfif(segment: Segment) -> bool:
    parameters = segment.parameters
    has_size = segment.marker == APPLICATION[0] and len(parameters) == _JFIF_LENGTH
    return has_size and parameters.startswith(_JFIF) and parameters[-2:] == b"\0\0"
