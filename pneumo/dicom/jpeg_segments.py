"""The segments of a JPEG bitstream up to its first scan, ITU-T T.81 annex B; JPEG-LS, ITU-T T.87, has the same."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pydicom.dataset import Dataset

from pneumo.dicom.file_ends import PADDING_BYTES, is_complete
from pneumo.dicom.pixel_data import bad_frame, first_frame
from pneumo.dicom.rejection import FileRejectedError

BASELINE = 0xC0
"""Start-of-frame marker, second byte, of a baseline bitstream."""
START_OF_IMAGE, END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
START_OF_SCAN, COMMENT = 0xDA, 0xFE
APPLICATION = range(0xE0, 0xF0)

MAX_STRAY = 5
"""Most bytes behind the end of a bitstream, besides padding, that do not make it a damaged one."""
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""In entropy-coded data, where 0xff00 is a byte and the eight restart markers have no length."""
DHT, DQT, DRI = 0xC4, 0xDB, 0xDD
_APP1 = 0xE1
_JPEG_LS, _JPEG_LS_PARAMETERS = 0xF7, 0xF8
_STARTS_OF_FRAME = frozenset({*range(0xC0, 0xD0), _JPEG_LS}) - {DHT, 0xC8, 0xCC}
_KNOWN = _STARTS_OF_FRAME | {DHT, START_OF_SCAN, DQT, DRI, *APPLICATION, _JPEG_LS_PARAMETERS, COMMENT}
"""Markers that may come before a scan; decoders stop at others."""


class Segment(NamedTuple):
    """A marker with its parameters."""

    marker: int
    """Second byte of the marker."""
    start: int
    """Offset of the marker."""
    end: int
    """Offset behind the parameters."""
    parameters: bytes
    """Without their length."""


@dataclass(slots=True)
class JpegHeader:
    """What a JPEG bitstream declares before its first scan."""

    process: int = 0
    """Second byte of its start-of-frame marker."""
    precision: int = 0
    """Bits per sample."""
    rows: int = 0
    columns: int = 0
    components: int = 0
    has_exif: bool = False
    huffman_tables: set[int] = field(default_factory=set)
    """Ids of the tables defined: the class, 0 for DC and 1 for AC, in the upper four bits."""
    scan_tables: set[int] = field(default_factory=set)
    """Ids of the tables that the first component of the scan uses."""
    quantization_table: int = 0
    """Id of the table that the first component uses."""
    scan: int = 0
    """Offset of the first scan's entropy-coded data."""


def first_bitstream(dataset: Dataset) -> bytes:
    """Return the first frame of a dataset, without the stray bytes behind its end that some writers leave there."""
    return bitstream_and_notes(dataset)[0]


def bitstream_and_notes(dataset: Dataset) -> tuple[bytes, tuple[str, ...]]:
    """Return the first bitstream, and a note when there were stray bytes behind its end."""
    frame = first_frame(dataset)
    end = len(frame.rstrip(PADDING_BYTES))
    at = frame.find(END_OF_IMAGE, max(0, end - len(END_OF_IMAGE) - MAX_STRAY), end)
    is_stray = at >= 0 and at + len(END_OF_IMAGE) < end
    if not is_stray:
        return frame, ()
    return frame[: at + len(END_OF_IMAGE)], ("stray bytes behind the end of the JPEG dropped",)


def whole_picture(data: bytes) -> bytes:
    """Return a JPEG file without what is behind its first image: another one, or what a camera or a vendor appends.

    A file without an end of its image is returned as it is.

    Raises:
        FileRejectedError: When a segment before the first scan is damaged.
    """
    at = max((segment.end for segment in segments(data)), default=0)
    while found := _MARKER.search(data, at):
        end = found.end()
        if data[end - 1] == END_OF_IMAGE[1]:
            return data[:end]
        # Tables or the header of another scan, with their length.
        at = end + max(2, int.from_bytes(data[end : end + 2], "big"))
    return data


def segments(frame: bytes) -> Iterator[Segment]:
    """Yield the segments behind the start-of-image marker, up to the header of the first scan, which is the last.

    Raises:
        FileRejectedError: When a segment is cut off or no marker is where one should be, before the first scan.
    """
    at = len(START_OF_IMAGE)
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(frame) or marker not in _KNOWN:
            break
        yield Segment(marker, at, end, frame[at + 4 : end])
        if marker == START_OF_SCAN:
            return
        at = end
    raise damaged_segments(frame, at)


def damaged_segments(frame: bytes, at: int) -> FileRejectedError:
    """Return the rejection of a bitstream whose segment at an offset is damaged."""
    return bad_frame(f"damaged JPEG segments at byte {at} of {len(frame)}", "a frame header, tables and a scan")


def read_header(frame: bytes) -> JpegHeader:
    """Read what comes before the first scan, and check that the bitstream has an end.

    Raises:
        FileRejectedError: When it has no start, no frame header, no scan or no end, or a damaged segment.
    """
    if not frame.startswith(START_OF_IMAGE):
        raise bad_frame("no start-of-image marker", "a JPEG bitstream")
    if not is_complete(frame):
        raise bad_frame(f"no end-of-image marker at the end of {len(frame)} bytes", "a whole JPEG bitstream")
    header = JpegHeader()
    for segment in segments(frame):
        if not _add(header, segment):
            raise damaged_segments(frame, segment.start)
    return header


def _add(header: JpegHeader, segment: Segment) -> bool:
    """Enter what a segment declares into the header; return whether it is well-formed and in its place.

    Tables are not checked: the decoders refuse damaged ones.
    """
    marker, parameters = segment.marker, segment.parameters
    if marker in _STARTS_OF_FRAME:
        if header.process or len(parameters) < 9 or len(parameters) != 6 + 3 * parameters[5]:
            return False
        header.process, header.precision, header.components = marker, parameters[0], parameters[5]
        header.quantization_table = parameters[8]
        header.rows, header.columns = int.from_bytes(parameters[1:3], "big"), int.from_bytes(parameters[3:5], "big")
    elif marker == DHT:
        header.huffman_tables.update(number for number, _ in tables(segment))
    elif marker == _APP1:
        header.has_exif |= parameters.startswith(b"Exif\0")
    elif marker == START_OF_SCAN:
        if not header.process or len(parameters) < 3:
            return False
        header.scan_tables = {parameters[2] >> 4, 0x10 | parameters[2] & 15}
        header.scan = segment.end
    return True


def tables(segment: Segment) -> Iterator[tuple[int, bytes]]:
    """Yield the id and the bytes of each table in a segment of tables; a restart interval is one with the id 0.

    A Huffman table is its id, 16 counts, and as many symbols as counted; a quantization table is its precision, 0 or 1,
    in the upper four bits of its id, and 64 values of one or two bytes.
    """
    parameters, at = segment.parameters, 0
    while at < len(parameters):
        number, size = 0, len(parameters)
        if segment.marker == DHT:
            number, size = parameters[at], 17 + sum(parameters[at + 1 : at + 17])
        elif segment.marker == DQT:
            number, size = parameters[at] & 15, 129 if parameters[at] >> 4 else 65
        yield number, parameters[at : at + size]
        at += size
