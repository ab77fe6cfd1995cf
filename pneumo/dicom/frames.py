"""Frames that need no rendering: 8-bit JPEG Baseline monochrome, passed through byte for byte."""

import re
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEGBaseline8Bit

from pneumo.dicom.attributes import transfer_syntax
from pneumo.dicom.rejection import Reason, Rejected
from pneumo.dicom.values import integer, numbers, tags, text

DISPLAY_ELEMENTS = tags(
    (
        "ModalityLUTSequence",
        "VOILUTSequence",
        "WindowCenter",
        "WindowWidth",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "PresentationLUTSequence",
    )
)
"""Elements that make the picture differ from the stored values."""

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF0, _SOS, _APP1 = 0xC0, 0xDA, 0xE1
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PADDING = 16
_STRAY_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class JpegHeader(NamedTuple):
    """What a JPEG bitstream says about itself."""

    process: int
    """Second byte of its start-of-frame marker; 0xC0 is baseline."""
    precision: int
    """Bits a sample."""
    rows: int
    columns: int
    components: int
    oriented: bool
    """Whether it has an Exif segment, which makes some decoders turn the picture."""
    scan: int
    """Offset of the first scan's entropy-coded data."""


def jpeg_frame(dataset: Dataset) -> bytes | None:
    """Return a frame that is already the picture: its bytes as they are, or None when it must be rendered.

    That is an unsigned 8-bit MONOCHROME2 frame in JPEG Baseline, the only one of the file, without a rescale,
    window, lookup table or padding value, whose own bitstream says the same.

    Raises:
        Rejected: When the bitstream is torn or contradicts the header, whether or not it would be passed through.
    """
    if transfer_syntax(dataset) != JPEGBaseline8Bit:
        return None
    frame = _first_frame(dataset)
    header = parse_jpeg(frame)
    declared = integer(dataset, "Rows"), integer(dataset, "Columns"), integer(dataset, "SamplesPerPixel", 1)
    if (header.rows, header.columns, header.components) != declared:
        raise _bad(
            f"a JPEG of {header.rows} x {header.columns} with {header.components} component(s)",
            f"{declared[0]} x {declared[1]} with {declared[2]}, as the DICOM header says",
        )
    plain = header.process == _SOF0 and header.precision == 8 and header.components == 1 and not header.oriented
    return frame if plain and _is_picture(dataset) else None


def parse_jpeg(frame: bytes) -> JpegHeader:
    """Read a JPEG bitstream's header and check that the stream is whole.

    Raises:
        Rejected: When it has no start, no frame header, no scan or no end, or a marker inside its only scan.
    """
    if not frame.startswith(_SOI):
        raise _bad("no start-of-image marker", "a JPEG bitstream")
    if not frame[-_PADDING:].rstrip(b"\0").endswith(_EOI):
        raise _bad(f"no end-of-image marker after {len(frame)} bytes", "a whole JPEG bitstream")
    header = _parse_segments(frame)
    # Encoders write one scan for one component, so a marker before the end means damaged or lost bytes.
    if header.components == 1 and header.process == _SOF0:
        stray = _STRAY_MARKER.search(frame, header.scan)
        if stray is None or stray[0] != _EOI or frame[stray.end() :].strip(b"\0"):
            at = len(frame) if stray is None else stray.start()
            raise _bad(f"a marker at byte {at} of {len(frame)} inside the scan", "one whole scan")
    return header


def _parse_segments(frame: bytes) -> JpegHeader:
    found: tuple[int, int, int, int, int] | None = None
    oriented = False
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        body = frame[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            break
        at += 2 + length
        if marker == _SOS and found is not None:
            return JpegHeader(*found, oriented, at)
        if marker in _STARTS_OF_FRAME and length >= 8:
            found = marker, body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
        oriented |= marker == _APP1 and body.startswith(b"Exif\0")
    raise _bad(f"damaged JPEG segments at byte {at} of {len(frame)}", "a frame header and a scan")


def _is_picture(dataset: Dataset) -> bool:
    """Return whether the stored values are what is to be seen."""
    return (
        text(dataset, "PhotometricInterpretation") == "MONOCHROME2"
        and integer(dataset, "BitsAllocated") == integer(dataset, "BitsStored") == 8
        and integer(dataset, "PixelRepresentation") == 0
        and frames(dataset) == 1
        and text(dataset, "PresentationLUTShape") in ("", "IDENTITY")
        and _number(dataset, "RescaleSlope", 1) == 1
        and _number(dataset, "RescaleIntercept", 0) == 0
        and DISPLAY_ELEMENTS.isdisjoint(dataset.keys())
    )


def frames(dataset: Dataset) -> int:
    """Return the number of frames; 1 unless the header says otherwise."""
    count = numbers(dataset, "NumberOfFrames")
    return max(1, int(count[0])) if count else 1


def _number(dataset: Dataset, keyword: str, default: float) -> float | None:
    """Return a single number, ``default`` when it is missing and None when it is malformed."""
    if not text(dataset, keyword):
        return default
    values = numbers(dataset, keyword)
    return values[0] if len(values) == 1 else None


def _first_frame(dataset: Dataset) -> bytes:
    data = dataset.get_item("PixelData")
    assert data is not None
    assert isinstance(data.value, bytes)
    return get_frame(data.value, 0, number_of_frames=frames(dataset))


def _bad(found: str, expected: str) -> Rejected:
    return Rejected(Reason.BAD_FRAME, "frame", found, expected, "fetch the file again from its source")
