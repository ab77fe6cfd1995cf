"""The rejection itself, and how much of another library's message it repeats."""

import pickle
import re
from pathlib import Path

import pytest

from pneumo.dicom import rejection
from pneumo.dicom.rejection import FileRejectedError, Reason, explain


def test_a_rejection_can_be_pickled() -> None:
    rejected = FileRejectedError(Reason.BAD_FRAME, "frame", "this", "that", "do something")
    copy = pickle.loads(pickle.dumps(rejected))
    assert vars(copy) == vars(rejected)
    assert str(copy) == "this; expected that; do something"


MESSAGES = {
    "No tag to read at file position E": "a sequence that ends inside an item",
    "maximum recursion depth exceeded": "sequences that are nested too deeply",
    "Unknown Value Representation 'DOE'": "an element of a value representation that DICOM does not define",
    "The number of bytes of pixel data is less than expected (8 vs 16 bytes) - 'DOE'": (
        "pixel data that is less than expected (8 vs 16 bytes)"
    ),
    "could not convert string to float: 'DOE^J'": "a header that is damaged",
}


@pytest.mark.parametrize(("message", "sentence"), MESSAGES.items(), ids=MESSAGES.values())
def test_messages_of_libraries_become_sentences_about_the_file(message: str, sentence: str) -> None:
    assert explain(ValueError(message), "a header that is damaged") == sentence


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
