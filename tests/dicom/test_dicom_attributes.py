from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom import config, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pneumo.dicom import attributes


def written(tmp_path: Path, **more: Any) -> Dataset:
    with config.disable_value_validation():
        path = reference.save(reference.build(np.zeros((3, 5), np.uint8), **more), tmp_path / "x.dcm")
        return dcmread(path)


AGES = {
    "without unit, as in SIIM": ("81", 81),
    "years": ("081Y", 81),
    "lower case": ("081y", 81),
    "months": ("018M", 1),
    "eleven months": ("011M", 0),
    "weeks": ("053W", 1),
    "days": ("010D", 0),
    "89 is kept": ("089Y", 89),
    "90 is 90": ("090Y", 90),
    "over 89 is 90": ("103Y", 90),
    "typing error of SIIM": ("148", None),
    "another": ("413", None),
    "words": ("eighty", None),
    "negative": ("-5", None),
    "a digit of another script": ("\u0665", None),
    "empty": ("", None),
}


@pytest.mark.parametrize(("age", "years"), AGES.values(), ids=AGES)
def test_ages(age: str, years: int | None) -> None:
    assert attributes.parse_age(age) == years


SPACINGS = {
    "pixel spacing": ({"PixelSpacing": [0.1, 0.2]}, (0.1, 0.2)),
    "imager pixel spacing": ({"ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
    "pixel spacing first": ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [0.3, 0.4]}, (0.1, 0.2)),
    "unusable pixel spacing": ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
    "one value": ({"PixelSpacing": 0.1}, (None, None)),
    "negative": ({"PixelSpacing": [-0.1, 0.1]}, (None, None)),
    "thinner than any detector": ({"PixelSpacing": [1e-320, 1]}, (None, None)),
    "meters": ({"PixelSpacing": [1000, 1000]}, (None, None)),
    "none": ({}, (None, None)),
}


@pytest.mark.parametrize(("elements", "spacing"), SPACINGS.values(), ids=SPACINGS)
def test_spacing(tmp_path: Path, elements: dict[str, Any], spacing: tuple[float | None, float | None]) -> None:
    read = attributes.read(written(tmp_path, **elements))
    assert (read.row_spacing_mm, read.column_spacing_mm) == spacing


@pytest.mark.parametrize(
    ("elements", "at_detector"),
    [
        ({"ImagerPixelSpacing": [0.3, 0.4]}, True),
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [0.3, 0.4]}, False),
        ({"PixelSpacing": [50, 50], "ImagerPixelSpacing": [0.3, 0.4]}, True),
        ({"PixelSpacing": [0.3, 0.4], "ImagerPixelSpacing": [0.3, 0.4]}, True),
        (
            {"PixelSpacing": [0.3, 0.4], "ImagerPixelSpacing": [0.3, 0.4], "PixelSpacingCalibrationType": "GEOMETRY"},
            False,
        ),
        ({"PixelSpacing": [0.1, 0.2]}, False),
        ({"ImagerPixelSpacing": [50, 50]}, False),
        ({}, False),
    ],
)
def test_spacing_of_the_detector_is_noted(tmp_path: Path, elements: dict[str, Any], at_detector: bool) -> None:
    dataset = written(tmp_path, **elements)
    assert attributes.notes_of(dataset) == ((attributes.AT_DETECTOR,) if at_detector else ())


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian", "deflated"])
def test_all_attributes_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    dataset = written(
        tmp_path, syntax=syntax, ViewPosition="PA", PatientSex="F", PatientAge="045Y", PixelSpacing=[0.1, 0.2]
    )
    assert attributes.read(dataset) == attributes.Attributes(
        3, 5, 0.1, 0.2, "PA", "F", 45, str(reference.NATIVE[syntax]), "MONOCHROME2", 8, "CR"
    )


def test_only_defined_terms_are_kept(tmp_path: Path) -> None:
    secret = "JANE DOE"
    text = (
        "Modality",
        "BodyPartExamined",
        "PresentationIntentType",
        "ViewPosition",
        "PatientSex",
        "PatientAge",
        "PatientName",
        "StudyDescription",
        "PatientComments",
    )
    dataset = written(tmp_path, **dict.fromkeys(text, secret))
    dataset.PhotometricInterpretation = secret
    read = attributes.read(dataset)
    assert secret not in str(asdict(read))
    assert (read.view, read.sex, read.age_years, read.photometric) == ("", "", None, "")


def test_malformed_values_never_raise(tmp_path: Path) -> None:
    dataset = written(tmp_path)
    malformed = {
        **dict.fromkeys(("Rows", "Columns", "BitsStored"), b"\xff\xfe\xfd"),
        "PixelSpacing": b"\xff\\nan",
        "ViewPosition": b"\x80\x81",
    }
    for keyword, value in malformed.items():
        dataset[keyword] = RawDataElement(Tag(keyword), "UN", len(value), value, 0, False, True)
    read = attributes.read(dataset)
    assert (read.rows, read.columns, read.bits_stored, read.row_spacing_mm, read.view) == (0, 0, 0, None, "")


def test_an_empty_dataset_has_no_attributes() -> None:
    assert attributes.read(Dataset()) == attributes.Attributes(0, 0, None, None, "", "", None, "", "", 0)
