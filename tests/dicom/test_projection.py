"""What excludes an image: what its header says that it shows, in the standard's terms and as people type it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForProcessing,
    EnhancedMRImageStorage,
    NuclearMedicineImageStorage,
    SecondaryCaptureImageStorage,
)

from pneumo.dicom import projection
from pneumo.dicom.projection import Projection, find_exclusion


def read(tmp_path: Path, syntax: str = "explicit", **elements: Any) -> Projection:
    """Read a file's elements without the modality CR that all others of the tests have."""
    dataset = reference.build(np.zeros((3, 5), np.uint8), syntax=syntax)
    del dataset.Modality
    with config.disable_value_validation():
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        return projection.read(dcmread(reference.save(dataset, tmp_path / "x.dcm")))


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian", "deflated"])
def test_the_elements_are_read_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    read_ = read(
        tmp_path, syntax, Modality="DX", BodyPartExamined="CHEST", ViewPosition="PA",
        PresentationIntentType="FOR PROCESSING",
    )  # fmt: skip
    assert read_ == ("DX", "CHEST", "PA", "FOR PROCESSING", "")
    assert find_exclusion(read_) == "FOR PROCESSING"


def test_what_is_absent_excludes_nothing(tmp_path: Path) -> None:
    assert projection.read(Dataset()) == read(tmp_path) == ("", "", "", "", "")
    assert find_exclusion(Projection("", "", "", "")) == ""


MODALITIES = {
    **dict.fromkeys(("CR", "DX", "RG", "DR", "XR", "OT", "SC", "HC", "dx ", "X-RAY CHEST", ""), ""),
    **{name: f"modality {name}" for name in ("CT", "MR", "US", "MG", "RF", "XA", "PX", "NM", "PT", "ECG")},
}


@pytest.mark.parametrize(("modality", "exclusion"), MODALITIES.items())
def test_other_modalities_are_excluded(tmp_path: Path, modality: str, exclusion: str) -> None:
    assert find_exclusion(read(tmp_path, Modality=modality)) == exclusion


CLASSES: dict[UID, str] = {
    CTImageStorage: "modality CT",
    EnhancedMRImageStorage: "modality MR",
    NuclearMedicineImageStorage: "modality NM",
    DigitalXRayImageStorageForProcessing: "FOR PROCESSING",
    SecondaryCaptureImageStorage: "",
    ComputedRadiographyImageStorage: "",
    # Private classes, and those that anonymization wrote: their roots begin like the last numbers of standard ones.
    UID("1.2.826.0.1.3680043.8.498.7777"): "",
    UID("1.3.12.2.1107.5.9.1"): "",
    UID("2.25.329800735698586629295641978511506172918"): "",
    UID("1.1.1"): "",
}


@pytest.mark.parametrize(("sop_class", "exclusion"), CLASSES.items(), ids=lambda value: getattr(value, "name", value))
def test_the_class_decides_where_the_header_does_not(tmp_path: Path, sop_class: UID, exclusion: str) -> None:
    assert find_exclusion(read(tmp_path, SOPClassUID=sop_class)) == exclusion


BODY_PARTS = {
    **dict.fromkeys(
        (
            *("CHEST", "chest", "THORAX", "LUNG", "LUNGS", "CHEST PA", "CHEST_AP", "PORT CHEST", "Thorax ap", "TORAX"),
            *("TÓRAX", "TÃ\x93RAX", "T?RAX", "TORACE", "PULMON", "POUMON", "HEART", "CXR", "PECHO", "MEDIASTINUM"),
            *("CHEST ABDOMEN", "RIBS CHEST", "THORAX SPINE", "CHESTABDPELVIS"),
        ),
        "CHEST",
    ),
    **{name: name for name in ("ABDOMEN", "KNEE", "HAND", "SKULL", "PELVIS", "BREAST", "SHOULDER", "RIB")},
    **{"L KNEE": "KNEE", "left foot ap": "FOOT", "UP_EXM": "", "LOWER EXTREMITY": "LOWEREXTREMITY"},
    **dict.fromkeys(("T SPINE", "CSPINE", "THORACIC SPINE", "TSPINE", "SPINE", "LUMBAR SPINE"), "SPINE"),
    **dict.fromkeys(("", "JANE DOE", "HANDLEY", "UNKNOWN", "WHOLEBODY"), ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "part"), BODY_PARTS.items())
def test_body_parts_are_those_that_people_type(tmp_path: Path, text: str, part: str) -> None:
    found = read(tmp_path, BodyPartExamined=text)
    assert found.body_part == part
    assert find_exclusion(found) == ("" if part in ("", "CHEST") else f"body part {part}")


VIEWS = {
    **{name: (name, False) for name in ("PA", "AP", "FRONTAL")},
    **{name: (name, True) for name in ("LL", "RL", "RLD", "LLD", "RLO", "LLO")},
    **dict.fromkeys(("LATERAL", "LAT", "lateral", "L LAT", "LLAT", "LEFT LATERAL", "LAT ERECT"), ("LATERAL", True)),
    **dict.fromkeys(("P/A", "PA ERECT", "POSTERO_ANTERIOR", "Postero-Anterior"), ("PA", False)),
    **dict.fromkeys(("A/P", "AP SUPINE", "PORTABLE AP", "ANTEROPOSTERIOR"), ("AP", False)),
    **dict.fromkeys(("AP DECUBITUS", "L DECUB"), ("DECUBITUS", True)),
    **dict.fromkeys(("OBLIQUE", "L OBL"), ("OBLIQUE", True)),
    **dict.fromkeys(("", "PA AND LATERAL", "JANE DOE", "PLATE"), ("", False)),
}


@pytest.mark.parametrize(("text", "expected"), VIEWS.items())
def test_views_are_those_that_people_type(tmp_path: Path, text: str, expected: tuple[str, bool]) -> None:
    found = read(tmp_path, ViewPosition=text)
    assert found.view == expected[0]
    assert find_exclusion(found) == (f"view {found.view}" if expected[1] else "")


IMAGE_TYPES = {
    **dict.fromkeys((r"ORIGINAL\PRIMARY\LOCALIZER", r"DERIVED\SECONDARY\localizer "), "LOCALIZER"),
    r"DERIVED\SECONDARY\REFORMATTED\AVERAGE": "REFORMATTED",
    r"DERIVED\SECONDARY\OTHER\MPR": "MPR",
    **dict.fromkeys(
        (r"ORIGINAL\PRIMARY", r"DERIVED\SECONDARY", r"DERIVED\PRIMARY\POST_PROCESSED\RT", "LOCALIZER", ""), ""
    ),
}


@pytest.mark.parametrize(("image_type", "expected"), IMAGE_TYPES.items())
def test_the_image_type_excludes_what_is_of_a_ct(tmp_path: Path, image_type: str, expected: str) -> None:
    found = read(tmp_path, Modality="OT", ImageType=image_type.split("\\"))
    assert find_exclusion(found) == (f"image type {expected}" if expected else "")


def test_the_view_code_decides_where_the_position_does_not(tmp_path: Path) -> None:
    lateral, frontal = reference.view_code("399067008", "SCT"), reference.view_code("R-10214", "SRT")
    assert find_exclusion(read(tmp_path, ViewCodeSequence=[lateral])) == "view LATERAL"
    assert read(tmp_path, ViewCodeSequence=[frontal], PatientOrientation=["P", "F"]).view == "PA"
    assert read(tmp_path, ViewCodeSequence=[lateral], ViewPosition="AP").view == "AP"


ORIENTATIONS = {
    "rows from left to right": (["L", "F"], "", ""),
    "rows from front to back": (["P", "F"], "", "LATERAL"),
    "rows from back to front": (["A", "F"], "", "LATERAL"),
    "rows from head to foot": (["F", "L"], "", ""),
    "no value": ("", "", ""),
    "another view is said": (["P", "F"], "PA", "PA"),
}


@pytest.mark.parametrize(("orientation", "view", "expected"), ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_the_orientation_decides_where_no_view_is_said(
    tmp_path: Path, orientation: list[str] | str, view: str, expected: str
) -> None:
    assert read(tmp_path, PatientOrientation=orientation, ViewPosition=view).view == expected
