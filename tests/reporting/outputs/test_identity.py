"""A valid value is the source's own, or what DICOM allows of it."""

import pytest

from pneumo.reporting.outputs import identity

LONG = "x" * 70
VALUES = {
    "as it is": ("PatientID", "P-17", "P-17", True),
    "padding": ("PatientID", " P-17 ", "P-17", True),
    "missing": ("PatientID", "", "", True),
    "a control character": ("PatientID", "P\t17\x85", "P17", False),
    "a lone surrogate": ("StudyDescription", "a\ud800b", "ab", False),
    "a long id": ("PatientID", LONG, "", False),
    "two ids": ("StudyID", "1\\2", "", False),
    "a long description": ("StudyDescription", LONG, "x" * 64, False),
    "two descriptions": ("StudyDescription", "a\\b", "a b", False),
    "three forms of a name": ("PatientName", "A^B=C^D=E^F", "A^B=C^D=E^F", True),
    "four forms of a name": ("PatientName", "A=B=C=D", "A=B=C", False),
    "six parts of a name": ("PatientName", "A^B^C^D^E^F", "A^B^C^D^E F", False),
    "a long form of a name": ("PatientName", f"{LONG}=A", f"{'x' * 64}=A", False),
    "a date": ("StudyDate", "20260102", "20260102", True),
    "a date of ACR-NEMA": ("StudyDate", "2026.01.02", "20260102", True),
    "a date of the first century": ("StudyDate", "00010203", "00010203", True),
    "no date": ("StudyDate", "20260231", "", False),
    "a time": ("StudyTime", "235960.123456", "235960.123456", True),
    "no time": ("StudyTime", "240000", "", False),
    "a time in other digits": ("StudyTime", "\u0661\u0660", "", False),
    "a sex": ("PatientSex", "O", "O", True),
    "no sex": ("PatientSex", "male", "", False),
}


@pytest.mark.parametrize(("keyword", "value", "expected", "is_kept"), VALUES.values(), ids=VALUES)
def test_a_valid_value_is_as_near_as_dicom_allows(keyword: str, value: str, expected: str, is_kept: bool) -> None:
    assert identity.valid(keyword, value) == expected
    assert identity.is_kept(keyword, value) == is_kept


@pytest.mark.parametrize("value", ["L\\F", "R\\HP", "A\\F ", "PLH\\FRA"])
def test_two_directions_of_the_body_are_an_orientation(value: str) -> None:
    assert identity.orientation(value) == value.strip().split("\\")


@pytest.mark.parametrize("value", ["", "L", "L\\F\\P", "L\\", "LR\\F", "L\\FF", "l\\f", "L\\up", "\\"])
def test_others_are_none(value: str) -> None:
    assert identity.orientation(value) is None
