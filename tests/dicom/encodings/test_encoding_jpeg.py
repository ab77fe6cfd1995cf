"""Lossy JPEG: whole bitstreams decode, damaged and contradictory ones are refused."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import reference_files as reference
from decoded_levels import shown
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGExtended12Bit

from pneumo.dicom import reader
from pneumo.dicom.encodings import jpeg
from pneumo.dicom.jpeg_segments import read_header
from pneumo.dicom.rejection import DicomRejectedError, Reason

NOISE = np.random.default_rng(7).integers(0, 256, (40, 56), dtype=np.uint8)
JPEG = reference.encode_jpeg(NOISE)
SCAN = read_header(JPEG).scan


def through_a_file(dataset: Dataset, tmp_path: Path) -> Dataset:
    return dcmread(reference.save(dataset, tmp_path / "x.dcm"))


WHOLE = {
    "a fill byte before the end": JPEG[:-2] + b"\xff\xff\xd9",
    "a fill byte after the end": JPEG + b"\xff" * (1 + len(JPEG) % 2),
    "fill bytes between segments": JPEG[:2] + b"\xff\xff" + JPEG[2:],
    "restart markers": cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes(),
}


DAMAGED = {
    "half": (JPEG[: len(JPEG) // 2], "no end-of-image marker"),
    "end marker cut": (JPEG[:-2], "no end-of-image marker"),
    "start lost": (JPEG[4:], "no start-of-image marker"),
    "ends alone": (JPEG[:2] + JPEG[-2:], "damaged JPEG segments"),
    "a zeroed header": (JPEG[:2] + bytes(SCAN - 2) + JPEG[SCAN:], "damaged JPEG segments"),
    "a segment longer than the file": (JPEG[:4] + b"\xff\xff" + JPEG[6:], "damaged JPEG segments"),
    "an end in the middle": (JPEG[: SCAN + 50] + b"\xff\xd9" + JPEG[SCAN + 52 :], "does not decode"),
    "two images": (JPEG + JPEG, "behind the scan"),
    "a stray marker": (JPEG[: SCAN + 50] + b"\xff\xc4" + JPEG[SCAN + 52 :], "does not decode"),
    "an HTTP error": (b'{"error": 429}', "no start-of-image marker"),
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("frame", "found"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_bitstreams_are_rejected(tmp_path: Path, frame: bytes, found: str, photometric: str) -> None:
    dataset = reference.build_jpeg(NOISE, frame, PhotometricInterpretation=photometric)
    with pytest.raises(DicomRejectedError, match=found) as caught:
        jpeg.check(through_a_file(dataset, tmp_path))
    assert caught.value.reason == Reason.BAD_FRAME
    assert caught.value.phase == "frame"


SCAN_DATA = JPEG[SCAN : JPEG.rindex(b"\xff\xd9")]
MIDDLE = SCAN + len(SCAN_DATA) // 2
RESTARTED = WHOLE["restart markers"]
AT_RESTART = RESTARTED.index(b"\xff\xd2")
WARNED = {
    "a cut scan with an end": JPEG[:MIDDLE] + b"\xff\xd9",
    "the last bytes lost": JPEG[: SCAN + len(SCAN_DATA) - 8] + b"\xff\xd9",
    "a hole": JPEG[:MIDDLE] + JPEG[MIDDLE + 100 :],
    "zeros in the scan": JPEG[:MIDDLE] + bytes(64) + JPEG[MIDDLE + 64 :],
    "a doubled stretch": JPEG[:MIDDLE] + JPEG[MIDDLE - 300 :],
    "more scan than blocks": JPEG[: SCAN + len(SCAN_DATA)] + b"\x5a" * 40 + b"\xff\xd9",
    "a restart marker lost": RESTARTED[:AT_RESTART] + RESTARTED[AT_RESTART + 2 :],
    "a restart marker of another number": RESTARTED[:AT_RESTART] + b"\xff\xd6" + RESTARTED[AT_RESTART + 2 :],
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("frame", WARNED.values(), ids=WARNED)
def test_what_decoders_only_warn_about_is_rejected(tmp_path: Path, frame: bytes, photometric: str) -> None:
    # OpenCV returns an image for each: gray, or shifted, from the damage on.
    assert cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED).shape == NOISE.shape
    dataset = reference.build_jpeg(NOISE, frame, PhotometricInterpretation=photometric)
    with pytest.raises(DicomRejectedError, match="does not decode") as caught:
        jpeg.check(through_a_file(dataset, tmp_path))
    assert caught.value.reason == Reason.BAD_FRAME


CONTRADICTIONS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "rows": (JPEG, {"Rows": 41}),
    "columns": (JPEG, {"Columns": 1024}),
    "transposed": (JPEG, {"Rows": 56, "Columns": 40}),
    "color in a gray file": (reference.encode_jpeg(np.dstack([NOISE] * 3)), {}),
    "gray in a color file": (JPEG, {"SamplesPerPixel": 3}),
}


@pytest.mark.parametrize(("frame", "elements"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_bitstream_that_contradicts_the_header_is_rejected(
    tmp_path: Path, frame: bytes, elements: dict[str, Any]
) -> None:
    with pytest.raises(DicomRejectedError, match="as the DICOM header says") as caught:
        jpeg.check(through_a_file(reference.build_jpeg(NOISE, frame, **elements), tmp_path))
    assert caught.value.reason == Reason.BAD_FRAME


def test_lossy_12_bit_jpeg_is_named_as_unsupported(tmp_path: Path) -> None:
    at = JPEG.index(b"\xff\xc0")
    dataset = reference.build_jpeg(NOISE, JPEG[: at + 1] + b"\xc1" + JPEG[at + 2 : at + 4] + b"\x0c" + JPEG[at + 5 :])
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    with pytest.raises(DicomRejectedError, match="a lossy JPEG of 12 bits") as caught:
        jpeg.check(through_a_file(dataset, tmp_path))
    assert caught.value.reason == Reason.UNSUPPORTED


@pytest.mark.parametrize("quality", [5, 50, 75, 95, 100])
@pytest.mark.parametrize("option", ["plain", "optimized", "restarts", "progressive"])
def test_jpegs_with_every_encoder_option(tmp_path: Path, quality: int, option: str) -> None:
    options = {"optimized": cv2.IMWRITE_JPEG_OPTIMIZE, "restarts": cv2.IMWRITE_JPEG_RST_INTERVAL}
    options |= {"progressive": cv2.IMWRITE_JPEG_PROGRESSIVE}
    more = [] if option == "plain" else [options[option], 1]
    frame = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_QUALITY, quality, *more])[1].tobytes()
    path = reference.save(reference.build_jpeg(NOISE, frame), tmp_path / "x.dcm")
    # A progressive bitstream does not belong under JPEG Baseline, but it can be rendered.
    assert reader.read(path).image_format == ("png" if option == "progressive" else "jpg")
    assert np.abs(shown(path) - dcmread(path).pixel_array.astype(int) * 257).max() <= 2 * 257


def test_extended_jpeg_of_8_bits_is_rendered(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE)
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    path = reference.save(dataset, tmp_path / "x.dcm")
    assert reader.read(path).image_format == "png"
    assert np.abs(shown(path) - dcmread(path).pixel_array.astype(int) * 257).max() <= 2 * 257


def decoded_shape(frame: bytes) -> tuple[int, ...] | None:
    pixels = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if pixels is None else pixels.shape


def test_every_flipped_bit_of_a_header_is_found_or_harmless_to_decoders() -> None:
    accepted = 0
    for at in range(SCAN):
        for bit in range(8):
            frame = bytearray(JPEG)
            frame[at] ^= 1 << bit
            try:
                jpeg.check(reference.build_jpeg(NOISE, bytes(frame)))
            except DicomRejectedError:
                continue
            accepted += 1
            assert decoded_shape(bytes(frame)) == NOISE.shape, f"bit {bit} of byte {at}"
    # Most of the header is tables, of which other values are as good to a decoder.
    assert accepted < 0.8 * 8 * SCAN


LOST_TABLES = {"quantization": (0xDB, "does not decode"), "Huffman": (0xC4, "without its Huffman tables")}


@pytest.mark.parametrize(("marker", "found"), LOST_TABLES.values(), ids=LOST_TABLES)
def test_a_bitstream_without_its_tables_is_rejected(marker: int, found: str) -> None:
    at = JPEG.index(bytes([0xFF, marker]))
    length = 2 + int.from_bytes(JPEG[at + 2 : at + 4], "big")
    with pytest.raises(DicomRejectedError, match=found):
        jpeg.check(reference.build_jpeg(NOISE, JPEG[:at] + JPEG[at + length :]))


def changed(offset: int, value: int, marker: int = 0xC4) -> bytes:
    """Return the bitstream with one byte replaced, counted from the first segment with a marker."""
    frame = bytearray(JPEG)
    frame[frame.index(bytes([0xFF, marker])) + offset] = value
    return bytes(frame)


DAMAGED_TABLES = {
    "too many codes of one bit": changed(5, 3),
    "a code of all ones and more": changed(6, 200),
    "a DC category of 16": changed(21, 16),
    "more symbols than the segment has": changed(20, 255),
    "a quantization table of id 4": changed(4, 4, 0xDB),
    "another component in the scan": changed(5, 9, 0xDA),
    "half a spectrum": changed(8, 31, 0xDA),
    "a sampling factor of 0": changed(11, 0, 0xC0),
}


@pytest.mark.parametrize("frame", DAMAGED_TABLES.values(), ids=DAMAGED_TABLES)
def test_the_decoder_refuses_damaged_tables_and_scan_headers(frame: bytes) -> None:
    with pytest.raises(DicomRejectedError, match="does not decode"):
        jpeg.check(reference.build_jpeg(NOISE, frame))


@pytest.mark.parametrize("marker", [0xFE, 0xE0, 0xE1, 0xEF, 0xDC])
def test_no_segment_is_accepted_between_the_scan_and_the_end(marker: int) -> None:
    # Decoders skip it without a warning, and it could carry a patient's name into the shard.
    frame = JPEG[:-2] + bytes([0xFF, marker, 0, 10]) + b"DOE^JANE" + JPEG[-2:]
    assert decoded_shape(frame) == NOISE.shape
    with pytest.raises(DicomRejectedError, match="behind the scan"):
        jpeg.check(reference.build_jpeg(NOISE, frame))


def test_noise_in_the_scan_is_found() -> None:
    random = np.random.default_rng(8)
    for _ in range(50):
        frame = JPEG[: SCAN + 100] + random.bytes(512) + JPEG[SCAN + 612 :]
        assert len(frame) == len(JPEG)
        with pytest.raises(DicomRejectedError):
            jpeg.check(reference.build_jpeg(NOISE, frame))
