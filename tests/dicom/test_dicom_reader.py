"""What the reader returns: the ids of a scan, and the image of a read."""

import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom import config, dcmread
from pydicom.encaps import get_frame
from pydicom.uid import UID

from pneumo.dicom import files, image_codec, image_file, reader

VALUES = reference.gradient("u2", 12)
NOISE = np.random.default_rng(3).integers(0, 256, (40, 56), dtype=np.uint8)


def whole(tmp_path: Path, name: str = "1.2.3.dcm", **more: Any) -> Path:
    return reference.save(reference.build(VALUES, 12, **more), tmp_path / name)


def unvalidated_uid(text: str) -> UID:
    with config.disable_value_validation():
        return UID(text)


def test_a_jpeg_passes_through(tmp_path: Path) -> None:
    frame = reference.encode_jpeg(NOISE)
    image = image_file.read(reference.save(reference.build_jpeg(NOISE, frame), tmp_path / "x.dcm"))
    assert (image.image_id, image.image_format, image.was_monochrome1, image.render_notes) == (
        reference.IMAGE_ID,
        "jpg",
        False,
        (),
    )
    assert image.data[: len(frame)] == frame
    assert (image.attributes.rows, image.attributes.columns) == (40, 56)


def test_everything_else_becomes_a_16_bit_png(tmp_path: Path) -> None:
    image = image_file.read(whole(tmp_path, photometric="MONOCHROME1"))
    assert (image.image_format, image.was_monochrome1) == ("png", True)
    assert np.array_equal(image_codec.decode(image.data), 65535 - np.rint(VALUES.astype(float) / 4095 * 65535))


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    assert image_file.read(whole(tmp_path)) == image_file.read(whole(tmp_path))


def test_no_text_of_the_file_is_in_the_image(tmp_path: Path) -> None:
    text = ("PatientName", "PatientID", "PatientComments", "ImageComments", "StudyDescription", "AccessionNumber")
    image = image_file.read(whole(tmp_path, **dict.fromkeys(text, "SECRET")))
    assert b"SECRET" not in pickle.dumps(image)


STEMS = {
    "1.2.840.dcm": "1.2.840",
    "1.2.840": "1.2.840",
    "ID_0a1b2c3d4.dcm": "ID_0a1b2c3d4",
    "X.DCM": "X",
    "image.ima": "image",
}


@pytest.mark.parametrize(("name", "stem"), STEMS.items())
def test_a_scan_returns_the_ids_and_the_file_stem(tmp_path: Path, name: str, stem: str) -> None:
    assert image_file.scan(whole(tmp_path, name)) == reader.Header(reference.IMAGE_ID, "someone", stem)


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", "deflated", "rle", "jpeg2000"])
def test_scan_and_read_agree_in_every_syntax(tmp_path: Path, syntax: str) -> None:
    path = whole(tmp_path, syntax=syntax)
    assert image_file.scan(path).image_id == image_file.read(path).image_id == reference.IMAGE_ID


def test_an_id_need_not_be_a_valid_uid(tmp_path: Path) -> None:
    path = whole(tmp_path, SOPInstanceUID=unvalidated_uid("ID_0a1b2c3d4"), PatientID="")
    assert image_file.scan(path) == reader.Header("ID_0a1b2c3d4", "", "1.2.3")
    assert image_file.read(path).image_id == "ID_0a1b2c3d4"


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian"])
@pytest.mark.parametrize("meta", ["without preamble", "without meta header"])
def test_files_without_preamble_or_meta_header_are_read(tmp_path: Path, syntax: str, meta: str) -> None:
    path = whole(tmp_path, syntax=syntax)
    data = path.read_bytes()
    length = 132 + 12 + dcmread(path).file_meta.FileMetaInformationGroupLength
    path.write_bytes(data[132 if meta == "without preamble" else length :])
    image = image_file.read(path)
    assert image_file.scan(path).image_id == image.image_id == reference.IMAGE_ID
    assert image.attributes.transfer_syntax == reference.NATIVE[syntax]
    assert np.array_equal(image_codec.decode(image.data), np.rint(VALUES.astype(float) / 4095 * 65535))


def test_a_long_patient_id_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    dataset = reference.build(VALUES, 12)
    dataset.add_new("PatientID", "UT", "secret" * 100_000)
    reference.save(dataset, path)
    assert image_file.scan(path).patient_id == ("secret" * 100)[:256]


@pytest.mark.siim
def test_every_real_frame_passes_through_byte_for_byte(siim: Path) -> None:
    paths = [path for path in files.find(siim) if path.suffix == ".dcm"]
    assert paths
    for path in paths:
        image, header, dataset = image_file.read(path), image_file.scan(path), dcmread(path)
        assert image.image_format == "jpg"
        assert image.data == get_frame(dataset.PixelData, 0, number_of_frames=1)
        assert header.image_id == image.image_id == dataset.SOPInstanceUID
        assert asdict(image.attributes)["view"] in ("PA", "AP")
        assert image.attributes.row_spacing_mm == dataset.PixelSpacing[0]
    assert np.abs(image_codec.decode(image.data).astype(int) - dataset.pixel_array).max() <= 2


SPACINGS: dict[str, tuple[dict[str, Any], tuple[float | None, float | None]]] = {
    "square": ({"PixelSpacing": [0.143, 0.143]}, (0.143, 0.143)),
    "not square": ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
    "of the detector": ({"ImagerPixelSpacing": [0.1, 0.2]}, (0.1, 0.2)),
    "calibrated first": ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, (0.2, 0.1)),
    "an aspect ratio alone": ({"PixelAspectRatio": [2, 1]}, (None, None)),
    "none": ({}, (None, None)),
}


@pytest.mark.parametrize(("elements", "expected"), SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("jpeg", [False, True])
def test_pixels_are_not_resampled_whatever_their_spacing(
    tmp_path: Path, elements: dict[str, Any], expected: tuple[float | None, float | None], jpeg: bool
) -> None:
    build = reference.build_jpeg if jpeg else reference.build
    image = image_file.read(reference.save(build(NOISE, **elements), tmp_path / "x.dcm"))
    plain = image_file.read(reference.save(build(NOISE), tmp_path / "plain.dcm"))
    assert image.data == plain.data
    known = replace(plain.attributes, row_spacing_mm=expected[0], column_spacing_mm=expected[1])
    assert image.attributes == known
