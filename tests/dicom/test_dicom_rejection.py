"""The rejection itself, and how much of another library's message it repeats."""

import pickle
import re
from pathlib import Path

import pytest

from pneumo.dicom import rejection
from pneumo.dicom.rejection import DicomRejectedError, Reason, describe


def test_a_rejection_can_be_pickled() -> None:
    rejected = DicomRejectedError(Reason.BAD_FRAME, "frame", "this", "that", "do something")
    copy = pickle.loads(pickle.dumps(rejected))
    assert vars(copy) == vars(rejected)
    assert str(copy) == "this; expected that; do something"


def test_messages_of_libraries_become_one_short_line() -> None:
    assert describe(ValueError("one\n  two")) == "ValueError: one two"
    assert describe(KeyError()) == "KeyError"
    assert (
        describe(ValueError("bad float: \"O'Brien\" in 'x', can't go on")) == "ValueError: bad float: ..., can't go on"
    )
    assert describe(AttributeError("(0028,0100) 'Bits Allocated'")) == "AttributeError: (0028,0100) Bits Allocated"
    assert len(describe(ValueError("x" * 5000))) == 200


MESSAGES = {
    "could not convert string to float: 'DOE^J'": "could not convert string to float: ...",
    """bad literal: "O'DOE" or b'DOE'""": "bad literal: ...",
    "'utf-8' codec can't decode byte 0xc3 in 'DOE": "... codec can't decode byte 0xc3 in ...",
    "(0028,0100) 'Bits Allocated' is 'DOE'": "(0028,0100) Bits Allocated is ...",
    "no element 'PixelData'": "no element PixelData",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_quotations_are_left_out_unless_they_name_dicom_elements(message: str) -> None:
    assert describe(ValueError(message)) == f"ValueError: {MESSAGES[message]}"


def test_every_reason_is_documented() -> None:
    source = Path(rejection.__file__).read_text()
    for reason in Reason:
        assert f'{reason.name} = "{reason.value}"\n    """' in source


def test_the_docstring_leads_to_the_checks_of_every_reason() -> None:
    listed: set[Reason] = set()
    for name, text in re.findall(r"^    (\w+/\S+) +(.+)$", rejection.__doc__, re.MULTILINE):
        path = Path(rejection.__file__).parents[1] / name
        source = "".join(file.read_text() for file in ([path] if path.is_file() else path.glob("*.py")))
        reasons = [reason for reason in Reason if re.search(rf"\b{reason}\b", text)]
        for reason in reasons:
            assert f"Reason.{reason.name}" in source or f"{reason}(" in source, (name, reason)
        listed.update(reasons)
    assert listed == set(Reason)
