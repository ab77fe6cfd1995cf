"""JPEG 2000 and High-Throughput JPEG 2000."""

import struct
from pathlib import Path

import independent_rendering
import numpy as np
import pytest
import reference_encodings as encodings
import reference_files as reference
from decoded_levels import shown, spread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000

from pneumo.dicom.encodings import jpeg2000
from pneumo.dicom.rejection import FileRejectedError


@pytest.mark.parametrize(("dtype", "bits"), encodings.HTJ2K)
def test_high_throughput_jpeg_2000(tmp_path: Path, dtype: str, bits: int) -> None:
    dataset, values = encodings.htj2k(dtype, bits)
    assert np.array_equal(shown(reference.save(dataset, tmp_path / "x.dcm")), spread(values, bits))


@pytest.mark.parametrize(
    "tag", [b"\x28\0\x10\0", b"\x28\0\x11\0", *(b"\x28\0" + bytes([last, 1]) for last in range(4))]
)
def test_a_number_under_the_vr_of_a_text_is_that_number_for_the_decoder_too(tmp_path: Path, tag: bytes) -> None:
    dataset, values = encodings.htj2k("u2", 12)
    path = reference.save(dataset, tmp_path / "x.dcm")
    assert path.read_bytes().count(tag + b"US") == 1
    path.write_bytes(path.read_bytes().replace(tag + b"US", tag + b"SH"))
    assert np.array_equal(shown(path), spread(values, 12))


@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16)])
def test_lossy_jpeg_2000_agrees_with_another_decoder(tmp_path: Path, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    dataset = reference.build(values, bits)
    dataset.compress(JPEG2000, j2k_psnr=[45], generate_instance_uid=False)
    path = reference.save(dataset, tmp_path / "x.dcm")
    expected = independent_rendering.render(dcmread(path), "gdcm")
    assert 0 < np.abs(expected - spread(values, bits)).max() < 65535 * 0.05
    assert np.abs(shown(path) - expected).max() <= 65535 / ((1 << bits) - 1) + 1


def codestream(dtype: str = "u2", bits: int = 12) -> bytearray:
    dataset = reference.build(reference.gradient(dtype, bits), bits, "jpeg2000")
    return bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))


def with_frame(frame: bytes, **more: object) -> Dataset:
    dataset = reference.build(reference.gradient("u2", 12), 12, "jpeg2000", **more)
    dataset.PixelData = encapsulate([bytes(frame)])
    return dataset


@pytest.mark.parametrize(("dtype", "signed"), [("u2", False), ("i2", True)])
def test_the_size_segment_is_read(dtype: str, signed: bool) -> None:
    assert jpeg2000.read_size(bytes(codestream(dtype))) == (40, 67, 1, signed, 12)


def test_the_size_segment_of_a_jp2_file_is_behind_its_boxes() -> None:
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40)
    assert jpeg2000.read_size(boxes + bytes(codestream())) == (40, 67, 1, False, 12)


def test_the_size_is_without_the_offset_of_the_image_area() -> None:
    frame = codestream()
    at = frame.index(b"\xff\x4f\xff\x51") + 8
    frame[at : at + 16] = struct.pack(">4I", 67 + 5, 40 + 3, 5, 3)
    assert jpeg2000.read_size(bytes(frame))[:2] == (40, 67)


@pytest.mark.parametrize("frame", [b"", b"no codestream", bytes(codestream()[:30])], ids=["empty", "text", "cut off"])
def test_a_codestream_without_a_size_segment_is_refused(frame: bytes) -> None:
    with pytest.raises(FileRejectedError, match="no start of codestream"):
        jpeg2000.read_size(frame)


def test_signed_samples_under_an_unsigned_header_are_refused_and_the_reverse_is_not() -> None:
    with pytest.raises(FileRejectedError, match="codestream of signed samples"):
        jpeg2000.check(with_frame(codestream("i2")))
    jpeg2000.check(with_frame(codestream("u2"), PixelRepresentation=1))


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded() -> None:
    frame = codestream()
    at = frame.index(b"\xff\x4f\xff\x51") + 8
    frame[at : at + 8] = struct.pack(">2I", 60000, 60000)
    with pytest.raises(FileRejectedError, match="a JPEG of 60000 x 60000"):
        jpeg2000.check(with_frame(frame))
