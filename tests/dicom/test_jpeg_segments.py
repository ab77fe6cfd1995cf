import numpy as np
import pytest
import reference_files as reference

from pneumo.dicom.jpeg_segments import BASELINE, END_OF_IMAGE, START_OF_SCAN, read_header, segments
from pneumo.dicom.rejection import FileRejectedError

JPEG = reference.encode_jpeg(np.random.default_rng(5).integers(0, 256, (24, 40), dtype=np.uint8))
SCAN = read_header(JPEG).scan


def test_the_header_is_read() -> None:
    header = read_header(JPEG)
    assert (header.process, header.precision, header.rows, header.columns) == (BASELINE, 8, 24, 40)
    assert (header.components, header.has_exif) == (1, False)
    assert header.huffman_tables == header.scan_tables == {0x00, 0x10}
    assert JPEG[header.scan - 10 : header.scan - 8] == bytes([0xFF, START_OF_SCAN])


def test_the_segments_are_the_bytes_before_the_scan() -> None:
    found = list(segments(JPEG))
    assert b"".join(JPEG[segment.start : segment.end] for segment in found) == JPEG[2:SCAN]
    for segment in found:
        assert JPEG[segment.start : segment.start + 2] == bytes([0xFF, segment.marker])
        assert JPEG[segment.start + 4 : segment.end] == segment.parameters
    assert [segment.marker for segment in found].index(START_OF_SCAN) == len(found) - 1


def test_fill_bytes_are_between_segments() -> None:
    plain, filled = list(segments(JPEG)), list(segments(JPEG[:2] + b"\xff\xff" + JPEG[2:]))
    assert [segment.parameters for segment in filled] == [segment.parameters for segment in plain]
    assert filled[0].start == plain[0].start + 2


def test_several_tables_of_one_segment_are_counted() -> None:
    tables = b"".join(segment.parameters for segment in segments(JPEG) if segment.marker == 0xC4)
    at = JPEG.index(b"\xff\xc4")
    joined = JPEG[:at] + b"\xff\xc4" + (len(tables) + 2).to_bytes(2, "big") + tables + JPEG[SCAN - 10 :]
    assert read_header(joined).huffman_tables == {0x00, 0x10}


DAMAGED = {
    "no start": (JPEG[4:], "no start-of-image marker"),
    "no end": (JPEG[:-2], "no end-of-image marker"),
    "no scan": (JPEG[: SCAN - 10] + END_OF_IMAGE, "damaged JPEG segments"),
    "no frame header": (JPEG.replace(b"\xff\xc0", b"\xff\xe5"), "damaged JPEG segments"),
    "two frame headers": (JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :][:13] + JPEG[2:], "damaged JPEG segments"),
    "an unknown marker": (JPEG[:2] + b"\xff\x01\0\2" + JPEG[2:], "damaged JPEG segments at byte 2"),
    "a segment of length 1": (JPEG[:2] + b"\xff\xfe\0\1" + JPEG[2:], "damaged JPEG segments at byte 2"),
    "a segment longer than the file": (JPEG[:2] + b"\xff\xfe\xff\xff" + JPEG[2:], "damaged JPEG segments at byte 2"),
}


@pytest.mark.parametrize(("frame", "found"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_header_is_refused(frame: bytes, found: str) -> None:
    with pytest.raises(FileRejectedError, match=found):
        read_header(frame)
