"""JSON documents of bounded size and depth, and the one line of an error."""

from pathlib import Path

import pytest

from pneumo.runtime import documents


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
