from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from pneumo.dicom import image_codec, image_file, reader
from pneumo.dicom.attributes import Attributes
from pneumo.synthetic.dicom_writer import write_dicom

SMOOTH = np.add.outer(np.arange(60), np.arange(0, 160, 2)).astype(np.uint8)
ATTRIBUTES = {"image_id": "1.2.3", "patient_id": "p", "view": "AP", "sex": "F", "age": 61, "spacing_mm": 0.143}


def written(path: Path, pixels: np.ndarray, **more: Any) -> Path:
    write_dicom(path, pixels, **(ATTRIBUTES | more))
    return path


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("depth", [8, 16])
def test_uncompressed_pixels_are_read_back_exactly(tmp_path: Path, photometric: str, depth: int) -> None:
    pixels = SMOOTH if depth == 8 else SMOOTH.astype(np.uint16) * 201
    image = image_file.read(written(tmp_path / "x.dcm", pixels, syntax="explicit", photometric=photometric))
    assert image.was_monochrome1 == (photometric == "MONOCHROME1")
    assert np.array_equal(image_codec.decode(image.data), pixels.astype(int) * (257 if depth == 8 else 1))


@pytest.mark.parametrize(("photometric", "image_format"), [("MONOCHROME1", "png"), ("MONOCHROME2", "jpg")])
def test_jpeg_pixels_are_read_back_approximately(tmp_path: Path, photometric: str, image_format: str) -> None:
    image = image_file.read(written(tmp_path / "x.dcm", SMOOTH, photometric=photometric))
    assert image.image_format == image_format
    assert np.abs(image_codec.to_float(image_codec.decode(image.data)) * 255 - SMOOTH).max() <= 4


def test_the_attributes_are_read_back(tmp_path: Path) -> None:
    path = written(tmp_path / "sub" / "x.dcm", SMOOTH)
    assert image_file.scan(path) == reader.Header("1.2.3", "p", "x")
    assert image_file.read(path).attributes == Attributes(
        60, 80, 0.143, 0.143, "AP", "F", 61, "1.2.840.10008.1.2.4.50", "MONOCHROME2", 8, "CR", "CHEST"
    )


def test_the_elements_are_those_of_the_siim_files(tmp_path: Path) -> None:
    dataset = dcmread(written(tmp_path / "x.dcm", SMOOTH))
    assert (dataset.SOPClassUID.name, dataset.Modality) == ("Secondary Capture Image Storage", "CR")
    assert dataset["PatientAge"].value == "61"
    assert (dataset.LossyImageCompression, dataset["PixelData"].is_undefined_length) == ("01", True)


@pytest.mark.parametrize("syntax", ["jpeg", "explicit"])
def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, syntax: str) -> None:
    one, two = (written(tmp_path / name, SMOOTH, syntax=syntax).read_bytes() for name in ("1.dcm", "2.dcm"))
    assert one == two


def test_odd_sizes_and_ids_that_are_not_uids(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    write_dicom(path, SMOOTH[:3, :3], image_id="ID_0123abcde", syntax="explicit")
    image = image_file.read(path)
    assert image.image_id == "ID_0123abcde"
    assert (image.attributes.row_spacing_mm, image.attributes.age_years, image.attributes.sex) == (None, None, "")
    assert image_codec.decode(image.data).shape == (3, 3)
