"""JSON documents of bounded size and depth, of one format version; and the one line of an error."""

from pathlib import Path

import pytest

from pneumo.runtime import documents
from pneumo.runtime.errors import UserError


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        documents.read(tmp_path / "none.json")
    (tmp_path / "some.json").write_text('{"a": 1}')
    assert documents.read(tmp_path / "some.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "not an object"), ("[" * 100_000, "nested too deeply"), ("{", "Expecting")],
)
def test_what_is_not_an_object_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "some.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        documents.read(tmp_path / "some.json")


def read_versioned(path: Path) -> dict[str, object]:
    return documents.read_versioned(path, 2, expected="a rule", repair="restore it", other_version="train again")


def test_a_document_of_the_version_is_returned_without_it(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text('{"format_version": 2, "a": 1}')
    assert read_versioned(path) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, " does not exist; expected a rule; restore it"),
        ("[1]", " cannot be read (a JSON list, not an object); expected a rule; restore it"),
        ("{}", " has format version None; expected format version 2; train again"),
        ('{"format_version": 3}', " has format version 3; expected format version 2; train again"),
        ('{"format_version": "2"}', " has format version '2'; expected format version 2; train again"),
    ],
)
def test_a_missing_or_damaged_document_or_one_of_another_version_is_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "some.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as raised:
        read_versioned(path)
    assert str(raised.value) == f"{path}{message}"
