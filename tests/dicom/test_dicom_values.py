"""Values of single elements: a malformed one is as good as a missing one, and no message quotes it."""

import warnings

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from pneumo.dicom import values

NAME = b"DOE^JANE"


def raw(keyword: str, value: bytes | None, vr: str = "UN", little: bool = True) -> Dataset:
    """Return a dataset with one element as it comes from a file."""
    dataset = Dataset()
    tag = Tag(keyword)
    dataset[tag] = RawDataElement(tag, vr, len(value or b""), value, 0, False, little)
    return dataset


TEXTS = {
    "padded by a space": (b"PA ", "PA"),
    "padded by a zero": (b"1.2\0", "1.2"),
    "several values": (b"1\\2", "1\\2"),
    "another alphabet": (b"\xc4", "\u00c4"),
    "empty": (b"", ""),
    "without a value": (None, ""),
}


@pytest.mark.parametrize(("value", "expected"), TEXTS.values(), ids=TEXTS)
def test_text_is_stripped_of_its_padding(value: bytes | None, expected: str) -> None:
    assert values.text(raw("ViewPosition", value), "ViewPosition") == expected


def test_text_of_converted_elements() -> None:
    dataset = Dataset()
    dataset.PixelSpacing = MultiValue(str, ["0.1", "0.2"])
    dataset.VOILUTSequence = [Dataset()]
    assert values.text(dataset, "PixelSpacing") == "0.1\\0.2"
    assert values.text(dataset, "VOILUTSequence") == ""
    assert values.text(dataset, "ViewPosition") == ""


INTEGERS = {
    "little endian": (b"\x01\x02", True, 513, False),
    "big endian": (b"\x01\x02", False, 258, False),
    "two numbers": (b"\x01\x00\x02\x00", True, -1, True),
    "one byte": (b"\x01", True, -1, True),
    "empty": (b"", True, -1, False),
    "without a value": (None, True, -1, False),
}


@pytest.mark.parametrize(("value", "little", "expected", "malformed"), INTEGERS.values(), ids=INTEGERS)
def test_an_integer_is_one_number_of_16_bits(value: bytes | None, little: bool, expected: int, malformed: bool) -> None:
    dataset = raw("Rows", value, "US", little)
    assert values.integer(dataset, "Rows", -1) == expected
    assert values.is_malformed(dataset, "Rows") == malformed


NUMBERS = {
    "one": (b"1.5", [1.5]),
    "two": (b"1e3\\ -2 ", [1000, -2]),
    "a name": (NAME, []),
    "infinite": (b"1\\inf", []),
    "not a number": (b"nan", []),
    "empty": (b"", []),
}


@pytest.mark.parametrize(("value", "expected"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_finite_or_none(value: bytes, expected: list[float]) -> None:
    assert values.numbers(raw("WindowCenter", value), "WindowCenter") == expected


@pytest.mark.parametrize("vr", ["US", "DS", "IS", "UI", "AS", "DA", "SQ", "UN", "??"])
@pytest.mark.parametrize("value", [NAME, NAME * 20, b"\xff\xfe\xfd", b"", None])
def test_malformed_values_raise_nothing_and_warn_of_nothing(vr: str, value: bytes | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for keyword in ("Rows", "PatientAge", "WindowCenter", "SOPInstanceUID"):
            dataset = raw(keyword, value, vr)
            assert values.numbers(dataset, keyword) == []
            assert values.integer(dataset, keyword, 7) == 7
            assert isinstance(values.text(dataset, keyword), str)
            values.is_malformed(dataset, keyword)


def test_tags_are_those_of_the_dictionary() -> None:
    assert values.tags(["Rows", "PixelData"]) == {0x00280010, 0x7FE00010}
