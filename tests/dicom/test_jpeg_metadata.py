"""Metadata is removed from a JPEG frame, and the image does not change."""

import cv2
import numpy as np
import pytest
import reference_files as reference
from pydicom.encaps import encapsulate

from pneumo.dicom import image_file, jpeg_metadata
from pneumo.dicom.jpeg_segments import read_header

NOISE = np.random.default_rng(3).integers(0, 256, (40, 56), dtype=np.uint8)
JPEG = reference.encode_jpeg(NOISE)
SECRET = b"Zacharias^Quux"


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def after_start(*segments: bytes) -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def before_scan(*segments: bytes) -> bytes:
    at = JPEG.rindex(b"\xff\xda")
    return JPEG[:at] + b"".join(segments) + JPEG[at:]


THUMBNAIL = b"JFIF\0\1\2\0\0\1\0\1\1\1" + SECRET[:3]
CARRIERS = {
    "comment": after_start(segment(0xFE, SECRET)),
    "comment before the scan": before_scan(segment(0xFE, SECRET)),
    "two comments": after_start(segment(0xFE, SECRET), segment(0xFE, SECRET)),
    "comment behind fill bytes": after_start(b"\xff\xff" + segment(0xFE, SECRET)),
    "comment that looks like a scan": after_start(segment(0xFE, b"\xff\xda\0\x08" + SECRET)),
    "thumbnail": after_start(segment(0xE0, THUMBNAIL)),
    "JFIF with more behind it": after_start(segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0" + SECRET)),
    "JFIF extension": after_start(segment(0xE0, b"JFXX\0\x10" + SECRET)),
    "XMP": after_start(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + SECRET)),
    "color profile": after_start(segment(0xE2, b"ICC_PROFILE\0\1\1" + SECRET)),
    "Photoshop": after_start(segment(0xED, b"Photoshop 3.0\0" + SECRET)),
    "Adobe": after_start(segment(0xEE, b"Adobe\0\x64" + SECRET[:5])),
    **{f"APP{n}": after_start(segment(0xE0 + n, SECRET)) for n in (3, 4, 5, 8, 15)},
    "a Huffman table that is not used": before_scan(segment(0xC4, b"\x11" + b"\0" * 7 + b"\x0e" + b"\0" * 8 + SECRET)),
    "a quantization table that is not used": before_scan(segment(0xDB, b"\x03" + SECRET.ljust(64, b"\1"))),
    "a quantization table of 16 bits that is not used": after_start(segment(0xDB, b"\x12" + SECRET.ljust(128, b"\1"))),
    "a table that is defined again": after_start(segment(0xDB, b"\0" + SECRET.ljust(64, b"\1"))),
    "a second JFIF segment": JPEG[:20] + segment(0xE0, b"JFIF\0" + SECRET[:7] + b"\0\0") + JPEG[20:],
}


@pytest.mark.parametrize("frame", CARRIERS.values(), ids=CARRIERS)
def test_metadata_is_removed_and_pixels_do_not_change(frame: bytes) -> None:
    read_header(frame)
    stripped = jpeg_metadata.strip(frame, read_header(frame))
    assert stripped == JPEG
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(stripped, np.uint8), -1), cv2.imdecode(np.frombuffer(frame, np.uint8), -1)
    )


def test_a_table_in_use_stays_beside_one_that_is_not() -> None:
    at = JPEG.index(b"\xff\xdb")
    table = JPEG[at + 4 : at + 2 + int.from_bytes(JPEG[at + 2 : at + 4], "big")]
    rest = JPEG[at + 4 + len(table) :]
    frame = JPEG[:at] + segment(0xDB, b"\x02" + SECRET.ljust(64, b"\1") + table) + rest
    assert jpeg_metadata.strip(frame, read_header(frame)) == JPEG


def test_a_frame_without_metadata_is_returned_unchanged() -> None:
    bare = JPEG[:2] + JPEG[2 + 18 :]
    assert JPEG[2:4] == b"\xff\xe0", "OpenCV writes a JFIF segment, which has no metadata"
    for frame in (JPEG, bare, JPEG[:2] + b"\xff\xff" + JPEG[2:]):
        read_header(frame)
        assert jpeg_metadata.strip(frame, read_header(frame)) is frame


@pytest.mark.parametrize("frame", [CARRIERS["comment"], CARRIERS["XMP"]], ids=["comment", "XMP"])
def test_the_reader_returns_the_frame_without_them(tmp_path, frame: bytes) -> None:
    dataset = reference.build_jpeg(NOISE)
    dataset.PixelData = encapsulate([frame])
    image = image_file.read(reference.save(dataset, tmp_path / "x.dcm"))
    assert image.image_format == "jpg"
    assert image.data.rstrip(b"\0") == JPEG


def test_a_frame_with_exif_is_rendered(tmp_path) -> None:
    frame = after_start(segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08" + SECRET))
    image = image_file.read(reference.save(reference.build_jpeg(NOISE, frame), tmp_path / "x.dcm"))
    assert image.image_format == "png"
    assert SECRET not in image.data
