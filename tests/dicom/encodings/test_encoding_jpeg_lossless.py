"""Lossless JPEG: scans that are cut off, damaged tables, and headers that end the process of gdcm."""

from pathlib import Path

import pytest
import reference_encodings as encodings
import reference_files as reference
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEGLosslessSV1

from pneumo.dicom import image_file
from pneumo.dicom.rejection import FileRejectedError, Reason


def test_a_scan_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    # gdcm fills in what is missing, and pydicom returns that without a warning.
    values = reference.gradient("u2", 12)
    path = encodings.save(reference.build(values, 12), "JPEG Lossless SV1", tmp_path / "x.dcm")
    dataset = dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    for length in range(len(frame) // 3, len(frame) - 4, 97):
        dataset.PixelData = encapsulate([frame[:length] + b"\xff\xd9"])
        with pytest.raises(FileRejectedError, match="ends before the image") as caught:
            image_file.read(reference.save(dataset, path))
        assert caught.value.reason == Reason.BAD_FRAME


def test_reading_good_and_damaged_files_writes_nothing_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = encodings.save(reference.build(reference.gradient("u2", 12), 12), "JPEG Lossless SV1", tmp_path / "x.dcm")
    assert image_file.read(path).render_notes == ()
    dataset = dcmread(path)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[:-40] + b"\xff\xd9"])
    with pytest.raises(FileRejectedError):
        image_file.read(reference.save(dataset, path))
    assert capfd.readouterr().err == ""


CRASHING = {
    "precision of 20": (b"\x10\0\x28\0\x43\x01", b"\x14\0\x28\0\x43\x01", 16),
    "precision of 17": (b"\x10\0\x28\0\x43\x01", b"\x11\0\x28\0\x43\x01", 16),
    "64 bits allocated": (b"", b"", 64),
    "32 bits allocated": (b"", b"", 32),
    "12 bits in 8": (b"", b"", 8),
}


@pytest.mark.parametrize("encoding", ["JPEG Lossless SV1", "JPEG Lossless, process 14", "JPEG-LS"])
@pytest.mark.parametrize(("header", "damaged", "allocated"), CRASHING.values(), ids=CRASHING)
def test_headers_that_crash_gdcm_are_refused_before_decoding(
    tmp_path: Path, encoding: str, header: bytes, damaged: bytes, allocated: int
) -> None:
    path = encodings.save(reference.build(reference.gradient("u2", 12), 12), encoding, tmp_path / "x.dcm")
    dataset = dcmread(path)
    assert header in dataset.PixelData
    dataset.PixelData = dataset.PixelData.replace(header, damaged) if header else dataset.PixelData
    dataset.BitsAllocated = allocated
    with pytest.raises(FileRejectedError, match=r"bits that fit into 8 or 16|in Bits Allocated of"):
        image_file.read(reference.save(dataset, path))


TABLES = {
    "too many codes of one bit": (5, 3),
    "more codes than bits allow": (6, 200),
    "a difference of 17 bits": (21, 17),
    "more symbols than the segment has": (20, 255),
    "another id": (4, 1),
}


@pytest.mark.parametrize(("offset", "value"), TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("encoding", ["JPEG Lossless SV1", "JPEG Lossless, process 14"])
def test_a_damaged_huffman_table_is_refused(tmp_path: Path, encoding: str, offset: int, value: int) -> None:
    # gdcm refuses it, or decodes less than the image, and does not crash.
    path = encodings.save(reference.build(reference.gradient("u2", 12), 12), encoding, tmp_path / "x.dcm")
    dataset = dcmread(path)
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    frame[frame.index(b"\xff\xc4") + offset] = value
    dataset.PixelData = encapsulate([bytes(frame)])
    with pytest.raises(FileRejectedError) as caught:
        image_file.read(reference.save(dataset, path))
    assert caught.value.reason == Reason.BAD_FRAME
