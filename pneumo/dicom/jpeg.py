"""Whether a JPEG bitstream is whole, ITU-T T.81: its segments, and what a strict decoder says of its scan.

JPEG-LS, ITU-T T.87, has the same segments.
"""

import re
from dataclasses import dataclass, field

import simplejpeg

from pneumo.dicom.rejection import DicomRejectedError, Reason, describe

BASELINE = 0xC0
"""Second byte of the start-of-frame marker of a baseline bitstream."""

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_DHT, _SOS, _DQT, _DRI, _APP1 = 0xC4, 0xDA, 0xDB, 0xDD, 0xE1
_JPEG_LS, _JPEG_LS_PARAMETERS = 0xF7, 0xF8
_STARTS_OF_FRAME = frozenset({*range(0xC0, 0xD0), _JPEG_LS}) - {_DHT, 0xC8, 0xCC}
_KNOWN = _STARTS_OF_FRAME | {_DHT, _SOS, _DQT, _DRI, *range(0xE0, 0xF0), _JPEG_LS_PARAMETERS, 0xFE}
"""Markers that may come before a scan, application segments and comments among them; decoders stop at others."""
_FILLER = bytes(range(1, 255))
_PADDING = 16
_FILL = b"\0\xff"
"""Bytes that make a frame even in length; some writers add the second, which JPEG allows between markers."""
_STRAY_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WHOLE_SPECTRUM = b"\x00\x3f\x00"
"""Spectral selection and approximation of a baseline scan."""


@dataclass(slots=True)
class JpegHeader:
    """What a JPEG bitstream says about itself before its first scan."""

    process: int = 0
    """Second byte of its start-of-frame marker."""
    precision: int = 0
    """Bits a sample."""
    rows: int = 0
    columns: int = 0
    components: int = 0
    component: bytes = b""
    """Id, sampling factors and quantisation table of the first component."""
    quantisation: set[int] = field(default_factory=set)
    """Tables defined."""
    huffman: set[int] = field(default_factory=set)
    """Tables defined: the class, 0 for DC and 1 for AC, in the upper four bits."""
    oriented: bool = False
    """Whether it has an Exif segment, which makes some decoders turn the picture."""
    scan: int = 0
    """Offset of the first scan's entropy-coded data."""


def parse(frame: bytes) -> JpegHeader:
    """Read the header and check that the bitstream is whole.

    Of a baseline bitstream with one component, the only kind that is ever passed on as it is, the tables and the
    scan are checked too. Damage inside the entropy-coded data is found when it makes a marker; see ``check_decodes``.

    Raises:
        Rejected: When it has no start, no frame header, no scan or no end, or is damaged in another way seen here.
    """
    if not frame.startswith(_SOI):
        raise bad_frame("no start-of-image marker", "a JPEG bitstream")
    if not frame[-_PADDING:].rstrip(_FILL).endswith(_EOI):
        raise bad_frame(f"no end-of-image marker after {len(frame)} bytes", "a whole JPEG bitstream")
    header, scan_header = _read_segments(frame)
    if header.process == BASELINE and header.components == 1:
        _check_scan(frame, header, scan_header)
    return header


def check_decodes(frame: bytes) -> None:
    """Decode a lossy 8-bit bitstream once and take the decoder's warnings seriously.

    Decoders draw something for whatever they are given: a cut scan becomes a picture that is gray from there on. All
    of the entropy-coded data is read, but the picture only made at an eighth of its size. What no decoder can see is
    damage after which the codes happen to fit together again with neither too few nor too many blocks.

    Raises:
        Rejected: When the scan ends early or late, or has codes that its tables do not have.
    """
    try:
        simplejpeg.decode_jpeg(frame, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        raise bad_frame(f"JPEG data that does not decode: {describe(error)}", "a whole JPEG bitstream") from None


def lengthened(frame: bytes) -> bytes:
    """Return a whole bitstream with more entropy-coded data than it needs.

    A decoder that fills in what a cut scan lacks makes another picture of it, but the same of a scan that was whole.
    """
    end = frame.rindex(_EOI)
    return frame[:end] + _FILLER + frame[end:]


def bad_frame(found: str, expected: str) -> DicomRejectedError:
    """Return the rejection of pixel data that is damaged or contradicts the DICOM header."""
    return DicomRejectedError(Reason.BAD_FRAME, "frame", found, expected, "fetch the file again from its source")


def _read_segments(frame: bytes) -> tuple[JpegHeader, bytes]:
    """Return what the segments up to the first scan say, and the scan's own header."""
    header = JpegHeader()
    at = len(_SOI)
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        body = frame[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2 or not _take(header, marker, body):
            break
        at += 2 + length
        if marker == _SOS and header.process:
            header.scan = at
            return header, body
    raise bad_frame(f"damaged JPEG segments at byte {at} of {len(frame)}", "a frame header, tables and a scan")


def _take(header: JpegHeader, marker: int, body: bytes) -> bool:
    """Note what a segment says in ``header``; return whether the segment is well-formed."""
    if marker in _STARTS_OF_FRAME:
        if header.process or len(body) < 9 or len(body) != 6 + 3 * body[5]:
            return False
        header.process, header.precision, header.components, header.component = marker, body[0], body[5], body[6:9]
        header.rows, header.columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    elif marker == _DQT:
        return _take_quantisation(header, body)
    elif marker == _DHT:
        return _take_huffman(header, body)
    elif marker == _DRI:
        return len(body) == 2
    elif marker == _APP1:
        header.oriented |= body.startswith(b"Exif\0")
    return marker in _KNOWN


def _take_quantisation(header: JpegHeader, body: bytes) -> bool:
    while body:
        precision, table = body[0] >> 4, body[0] & 15
        size = 64 * (precision + 1)
        if precision > 1 or table > 3 or len(body) <= size:
            return False
        header.quantisation.add(table)
        body = body[1 + size :]
    return True


def _take_huffman(header: JpegHeader, body: bytes) -> bool:
    while body:
        counts = body[1:17]
        end = 17 + sum(counts)
        symbols = body[17:end]
        # Categories of DC differences end at 15, in a lossless bitstream at 16; no decoder takes a table with others.
        categories = 16 if body[0] < 16 else 255
        if body[0] & 0xEC or len(body) < end or not _is_prefix_code(counts) or max(symbols, default=0) > categories:
            return False
        header.huffman.add(body[0])
        body = body[end:]
    return True


def _is_prefix_code(counts: bytes) -> bool:
    """Return whether there can be as many codes of each length, 1 to 16 bits, with the code of all ones unused."""
    free = 1
    for count in counts:
        free = 2 * free - count
        if free < 1:
            return False
    return sum(counts) <= 256


def _check_scan(frame: bytes, header: JpegHeader, scan_header: bytes) -> None:
    """Check that the only scan of a baseline bitstream has its tables and ends where the bitstream ends."""
    name, sampling, quantisation = header.component
    tables = scan_header[2] if len(scan_header) == 6 else 0
    fits = (
        scan_header[:2] == bytes([1, name])
        and scan_header[3:] == _WHOLE_SPECTRUM
        and {tables >> 4, 0x10 | tables & 15} <= header.huffman
        and quantisation in header.quantisation
        and 1 <= sampling >> 4 <= 4
        and 1 <= sampling & 15 <= 4
    )
    if not fits:
        raise bad_frame("a JPEG scan that does not fit the frame header and tables", "a baseline JPEG bitstream")
    # Encoders write one scan for one component, so a marker before the end means damaged or lost bytes.
    stray = _STRAY_MARKER.search(frame, header.scan)
    if stray is None or stray[0] != _EOI or frame[stray.end() :].strip(_FILL):
        at = len(frame) if stray is None else stray.start()
        raise bad_frame(f"a marker at byte {at} of {len(frame)} inside the scan", "one whole scan")
