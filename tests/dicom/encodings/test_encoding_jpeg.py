"""Lossy JPEG: whole bitstreams decode, damaged and contradictory ones are refused."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom.data
import pytest
import reference_encodings as encodings
import reference_files as reference
from decoded_levels import shown
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.encodings import jpeg
from pneumo.dicom.encodings.encoding import FLAT
from pneumo.dicom.jpeg_segments import read_header
from pneumo.dicom.rejection import FileRejectedError, Reason

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
    with pytest.raises(FileRejectedError, match=found) as caught:
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
    with pytest.raises(FileRejectedError, match="does not decode") as caught:
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
    with pytest.raises(FileRejectedError, match="as the DICOM header says") as caught:
        jpeg.check(through_a_file(reference.build_jpeg(NOISE, frame, **elements), tmp_path))
    assert caught.value.reason == Reason.BAD_FRAME


STRAY = {"one": b"\x0a", "five": b"\x1a\x0d\x0a\x00\x7f", "another end": b"\xff\xd9", "zeros and one": b"\0\0\x01"}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
def test_stray_bytes_behind_the_end_are_dropped_and_noted(tmp_path: Path, stray: bytes, photometric: str) -> None:
    plain, odd = (
        image_file.read(
            reference.save(
                reference.build_jpeg(NOISE, frame, PhotometricInterpretation=photometric), tmp_path / "x.dcm"
            )
        )
        for frame in (JPEG + b"\0" * (len(JPEG) % 2), JPEG + stray)
    )
    assert odd.render_notes == ("stray bytes behind the end of the JPEG dropped",)
    assert plain.render_notes == ()
    assert odd.data == (plain.data.rstrip(b"\0") if odd.image_format == "jpg" else plain.data)


def test_more_than_stray_bytes_behind_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRejectedError, match="no end-of-image marker at the end"):
        jpeg.check(through_a_file(reference.build_jpeg(NOISE, JPEG + b"DOE^JANE"), tmp_path))


@pytest.mark.parametrize("stored", [8, 12, 16])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_8_bits_under_a_header_of_16_are_shown_in_their_range(tmp_path: Path, stored: int, syntax: UID) -> None:
    plain = image_file.read(reference.save(reference.build_jpeg(NOISE, JPEG), tmp_path / "x.dcm"))
    dataset = reference.build_jpeg(NOISE, JPEG, BitsAllocated=16, BitsStored=stored, HighBit=stored - 1)
    dataset.file_meta.TransferSyntaxUID = syntax
    path = reference.save(dataset, tmp_path / "x.dcm")
    assert image_file.read(path).render_notes == (f"codestream of 8 bits under {stored} bits stored in 16",)
    # OpenCV's decoder and Pillow's are builds of the same library.
    assert np.array_equal(shown(path), image_codec.decode(plain.data).astype(int) * 257)


def test_a_flat_jpeg_is_noted_and_one_that_is_only_flat_when_small_is_not(tmp_path: Path) -> None:
    stripes = np.tile(np.array([[0, 255]], np.uint8).repeat(4, axis=1), (40, 8))
    for values, notes in ((np.full_like(NOISE, 90), (FLAT,)), (stripes, ())):
        image = image_file.read(reference.save(reference.build_jpeg(values), tmp_path / "x.dcm"))
        assert (image.image_format, image.render_notes) == ("jpg", notes)


@pytest.mark.parametrize("syntax", encodings.JPEG_OF_12_BITS)
def test_lossy_jpeg_of_12_bits_is_decoded_and_noted(tmp_path: Path, syntax: str) -> None:
    path = encodings.save_jpeg_of_12_bits(encodings.jpeg_of_12_bits(syntax), tmp_path / "x.dcm")
    process = "extended sequential" if syntax.endswith("51") else "progressive"
    assert image_file.read(path).render_notes == (f"lossy JPEG of 12 bits, {process}",)
    difference = np.abs(shown(path) - (encodings.TWELVE_BITS.astype(int) - 200) * 65535 / 4095)
    assert difference.mean() < 0.01 * 65535
    assert difference.max() < 0.06 * 65535


PYDICOM_FILES = Path(pydicom.data.__file__).parent / "test_files"
OF_12_BITS = (*encodings.JPEG_OF_12_BITS, "JPEG-lossy.dcm", "JPGExtended.dcm")


@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("source", OF_12_BITS)
def test_lossy_jpeg_of_12_bits_is_what_dcmtk_decodes(tmp_path: Path, source: str) -> None:
    path = (
        encodings.save_jpeg_of_12_bits(encodings.jpeg_of_12_bits(source), tmp_path / "x.dcm")
        if source in encodings.JPEG_OF_12_BITS
        else PYDICOM_FILES / source
    )
    subprocess.run(["dcmdjpeg", str(path), str(tmp_path / "plain.dcm")], check=True, capture_output=True)
    # The decoded file is uncompressed, and takes another way through the reader.
    assert np.array_equal(shown(path), shown(tmp_path / "plain.dcm"))


@pytest.mark.parametrize("syntax", encodings.JPEG_OF_12_BITS)
def test_damaged_lossy_jpeg_of_12_bits_is_refused(
    tmp_path: Path, syntax: str, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = encodings.jpeg_bitstream_of_12_bits(syntax)
    for length in range(len(frame) - 100, len(frame) - 6, 9):
        path = encodings.save_jpeg_of_12_bits(
            encodings.jpeg_of_12_bits(syntax, frame[:length] + b"\xff\xd9"), tmp_path / "x.dcm"
        )
        with pytest.raises(FileRejectedError) as caught:
            image_file.read(path)
        assert caught.value.reason == Reason.BAD_FRAME
    assert capfd.readouterr().err == ""


def test_12_bits_in_a_baseline_bitstream_are_unsupported(tmp_path: Path) -> None:
    at = JPEG.index(b"\xff\xc0")
    frame = JPEG[: at + 4] + b"\x0c" + JPEG[at + 5 :]
    with pytest.raises(FileRejectedError, match=r"a lossy JPEG of 1 component of 12 bits, baseline") as caught:
        jpeg.check(through_a_file(reference.build_jpeg(NOISE, frame), tmp_path))
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
    assert image_file.read(path).image_format == ("png" if option == "progressive" else "jpg")
    assert np.abs(shown(path) - dcmread(path).pixel_array.astype(int) * 257).max() <= 2 * 257


def test_extended_jpeg_of_8_bits_is_rendered(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE)
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    path = reference.save(dataset, tmp_path / "x.dcm")
    assert image_file.read(path).image_format == "png"
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
            except FileRejectedError:
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
    with pytest.raises(FileRejectedError, match=found):
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
    with pytest.raises(FileRejectedError, match="does not decode"):
        jpeg.check(reference.build_jpeg(NOISE, frame))


@pytest.mark.parametrize("marker", [0xFE, 0xE0, 0xE1, 0xEF, 0xDC])
def test_no_segment_is_accepted_between_the_scan_and_the_end(marker: int) -> None:
    # Decoders skip it without a warning, and it could carry a patient's name into the shard.
    frame = JPEG[:-2] + bytes([0xFF, marker, 0, 10]) + b"DOE^JANE" + JPEG[-2:]
    assert decoded_shape(frame) == NOISE.shape
    with pytest.raises(FileRejectedError, match="behind the scan"):
        jpeg.check(reference.build_jpeg(NOISE, frame))


def test_noise_in_the_scan_is_found() -> None:
    random = np.random.default_rng(8)
    for _ in range(50):
        frame = JPEG[: SCAN + 100] + random.bytes(512) + JPEG[SCAN + 612 :]
        assert len(frame) == len(JPEG)
        with pytest.raises(FileRejectedError):
            jpeg.check(reference.build_jpeg(NOISE, frame))


@pytest.mark.parametrize("interval", [0, 1])
def test_a_scan_ends_at_its_first_marker_that_is_none_of_its_own(interval: int) -> None:
    rng = np.random.default_rng(interval)
    end = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
    frame = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_RST_INTERVAL, interval])[1].tobytes()
    scan = read_header(frame).scan
    assert jpeg._end_of_scan(frame, scan) == frame.rindex(b"\xff\xd9")
    for _ in range(300):
        changed = bytearray(frame)
        for at in rng.integers(scan, len(frame), 3):
            changed[at] = rng.choice([0xFF, 0, 0xD0, 0xD7, 0xD8, 0xD9, 0xC4, 0xFE])
        found = end.search(changed, scan)
        assert jpeg._end_of_scan(bytes(changed), scan) == (found.start() if found else len(changed))
