"""JSON documents become dataclasses or are refused, field by field."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pneumo.runtime import documents
from pneumo.runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str


@dataclass(frozen=True, kw_only=True)
class Document:
    count: int
    share: float = 0.5
    kind: Literal["a", "b"] = "a"
    several: tuple[int, ...] = ()
    pair: tuple[int, str] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    inner: Inner = field(default_factory=lambda: Inner(name="x"))


def test_a_document_becomes_its_dataclass() -> None:
    values = {"count": 3, "share": 1, "several": [1, 2], "history": [{"loss": 0.5}], "inner": {"name": "y"}}
    expected = Document(count=3, share=1, several=(1, 2), history=[{"loss": 0.5}], inner=Inner(name="y"))
    assert documents.build(Document, values, "file") == expected


WRONG = {
    "no object": ([1], "file is [1]; expected an object"),
    "missing": ({}, "file has no field count; expected every field"),
    "unknown": ({"count": 1, "more": 2}, "file has unknown field(s) more"),
    "text for a number": ({"count": "1"}, "file.count is 1; expected a value of the type int"),
    "truth for a number": ({"count": True}, "file.count is True"),
    "truth for a float": ({"count": 1, "share": False}, "file.share is False"),
    "fraction for a number": ({"count": 1.0}, "file.count is 1.0"),
    "another word": ({"count": 1, "kind": "c"}, "file.kind is c; expected a value of the type Literal['a', 'b']"),
    "one for several": ({"count": 1, "several": 1}, "file.several is 1"),
    "texts for numbers": ({"count": 1, "several": ["1"]}, "file.several is ['1']"),
    "three for a pair": ({"count": 1, "pair": [1, "a", 2]}, "file.pair is [1, 'a', 2]"),
    "a wrong pair": ({"count": 1, "pair": ["a", 1]}, "file.pair"),
    "texts in the history": ({"count": 1, "history": [{"loss": "0.5"}]}, "file.history"),
    "inside": ({"count": 1, "inner": {"name": 5}}, "file.inner.name is 5"),
    "long": ({"count": "x" * 1000}, f"file.count is {'x' * documents.SHOWN}...; expected"),
}


@pytest.mark.parametrize(("values", "text"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named(values: object, text: str) -> None:
    with pytest.raises(UserError) as raised:
        documents.build(Document, values, "file")
    assert str(raised.value).startswith(text)


def test_a_file_that_is_missing_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        documents.read(tmp_path / "none.json")
    (tmp_path / "some.json").write_text('{"a": 1}')
    assert documents.read(tmp_path / "some.json") == {"a": 1}


def test_a_message_is_one_line_whatever_it_repeats() -> None:
    error = UserError("a\nb\x1b[2J\udcff\u2028c", "x" * 5000, "mend it")
    assert str(error).startswith("a\\nb\\x1b[2J\\xff\\u2028c; expected x")
    assert str(error).endswith("x; mend it")
    assert " ... " in str(error)
    assert str(error).isprintable()
    assert error.found == "a\nb\x1b[2J\udcff\u2028c", "kept as it was"
