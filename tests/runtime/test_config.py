"""Configuration is checked alike from Python, the command line and JSON, and the message names the field."""

import dataclasses
import json
import math
import pickle
from dataclasses import asdict, field, replace
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval, MinLen, MultipleOf

from pneumo.runtime import cli, config
from pneumo.runtime.config import config_dataclass, from_json, invalid_value
from pneumo.runtime.errors import UserError


@config_dataclass(flag_prefix="inner.")
class Inner:
    share: float = 0.5
    name: str = "x"


@config_dataclass
class Config:
    count: Annotated[int, Interval(ge=0, le=10)] = 1
    rate: float = 0.5
    open: Annotated[float, Interval(gt=0, lt=10)] = 1.0
    name: str = "a"
    on: bool = True
    kind: Literal["x", "y"] = "x"
    sizes: Annotated[tuple[Annotated[int, MultipleOf(32), Interval(ge=32, le=64)], ...], MinLen(1)] = (32,)
    maybe: float | None = None
    pair: tuple[int, str] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.kind == "y" and self.on:
            raise invalid_value("kind", self.kind, "x with --on")


RIGHT: list[dict[str, Any]] = [
    {}, {"rate": 1}, {"sizes": (32, 64)}, {"maybe": 2.0}, {"kind": "y", "on": False}, {"count": 0}, {"count": 10},
]  # fmt: skip


@pytest.mark.parametrize("right", RIGHT)
def test_right_values_pass_from_python_and_json(right: dict[str, Any]) -> None:
    made = replace(Config(), **right)
    assert made == from_json(Config, json.loads(json.dumps(asdict(made))), "file")
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.count = 3  # type: ignore[misc]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text for a number": ({"count": "1"}, "--count 1; expected an integer, 0 to 10; correct --count"),
    "true for a number": ({"count": True}, "--count True; expected an integer, 0 to 10"),
    "a fraction for a count": ({"count": 1.5}, "--count 1.5; expected an integer, 0 to 10"),
    "below": ({"count": -1}, "--count -1; expected 0 to 10"),
    "above": ({"count": 10**30}, "; expected 0 to 10"),
    "an open end": ({"open": 10.0}, "--open 10.0; expected above 0 and below 10"),
    "true for a rate": ({"rate": True}, "--rate True; expected a finite number"),
    "NaN": ({"rate": math.nan}, "--rate nan; expected a finite number"),
    "infinity": ({"rate": -math.inf}, "--rate -inf; expected a finite number"),
    "NaN or null": ({"maybe": math.nan}, "--maybe nan; expected a finite number or null"),
    "a number for a string": ({"name": 1}, "--name 1; expected a string"),
    "a number for a switch": ({"on": 1}, "--on 1; expected true or false"),
    "another choice": ({"kind": "z"}, "--kind z; expected one of x, y"),
    "one for a list": ({"sizes": 1}, "--sizes 1; expected at least one value, each a multiple of 32, 32 to 64"),
    "an empty list": ({"sizes": ()}, "--sizes ; expected at least one value"),
    "no multiple": ({"sizes": (32, 33)}, "--sizes 33; expected a multiple of 32, 32 to 64"),
    "null for an object": ({"inner": None}, "--inner None; expected an object"),
    "two fields": ({"kind": "y"}, "--kind y; expected x with --on; correct --kind"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_named_by_their_flag(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Config(**wrong)
    assert message in str(caught.value)


def test_a_list_with_commas_is_told_to_have_spaces() -> None:
    for value, action in (
        (("a,b",), "separate several values by spaces, not by commas"),
        (("a", "b"), "correct --names"),
    ):
        assert str(invalid_value("names", value, "c")).endswith(f"; expected c; {action}")


def test_a_nested_field_has_its_prefix() -> None:
    with pytest.raises(UserError, match=r"^--inner\.share nan; expected a finite number; correct --inner\.share$"):
        Inner(share=math.nan)


def test_the_command_line_is_checked_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.parse(Config, ["--inner.share", "2", "--sizes", "32", "64"], prog="x", description="") == Config(
        inner=Inner(share=2.0), sizes=(32, 64)
    )
    with pytest.raises(UserError, match=r"^--sizes 31; expected a multiple of 32, 32 to 64; correct --sizes$"):
        cli.parse(Config, ["--sizes", "31"], prog="x", description="")
    with pytest.raises(SystemExit) as ended:
        cli.parse(Config, ["--count", "many"], prog="x", description="")
    assert ended.value.code == 2
    assert "--count" in capsys.readouterr().err


DOCUMENTS: dict[str, tuple[object, str]] = {
    "no object": ([1], "file is [1]; expected an object"),
    "unknown": ({"count": 1, "more": 2}, "file.more is an unknown field; expected the fields of this version"),
    "text for a number": ({"count": "1"}, "file.count is 1; expected an integer, 0 to 10"),
    "truth for a number": ({"count": True}, "file.count is True"),
    "truth for a float": ({"rate": False}, "file.rate is False"),
    "fraction for a number": ({"count": 1.5}, "file.count is 1.5"),
    "NaN": ({"rate": math.nan}, "file.rate is nan; expected a finite number"),
    "another word": ({"kind": "c"}, "file.kind is c; expected one of x, y"),
    "one for several": ({"sizes": 1}, "file.sizes is 1"),
    "strings for numbers": ({"sizes": ["1"]}, "file.sizes.0 is 1"),
    "three for a pair": ({"pair": [1, "a", 2]}, "file.pair"),
    "strings in the history": ({"history": [{"loss": "0.5"}]}, "file.history.0.loss is 0.5; expected a finite number"),
    "inside": ({"inner": {"name": 5}}, "file.inner.name is 5; expected a string"),
    "long": ({"count": "x" * 1000}, f"file.count is {'x' * config.MAX_SHOWN_LENGTH}...; expected"),
}


@pytest.mark.parametrize(("values", "text"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_wrong_documents_are_named_by_their_path(values: object, text: str) -> None:
    with pytest.raises(UserError) as raised:
        from_json(Config, values, "file")
    assert str(raised.value).startswith(text)


def test_a_document_without_a_field_is_refused_whether_the_field_has_a_default_or_not() -> None:
    @config_dataclass
    class Required:
        count: int

    with pytest.raises(UserError, match=r"^file\.count is missing; expected every field; restore the file"):
        from_json(Required, {}, "file")
    with pytest.raises(TypeError, match="--count"):
        Required()  # type: ignore[call-arg]
    complete = asdict(Config())
    without_name = {"share": 0.5}
    for incomplete, missing in [
        ({name: value for name, value in complete.items() if name != "rate"}, "rate"),
        (complete | {"inner": without_name}, "inner.name"),
    ]:
        with pytest.raises(UserError, match=rf"^file\.{missing} is missing; expected every field; restore the file"):
            from_json(Config, incomplete, "file")


def test_a_contradiction_in_a_document_names_the_document_and_no_flag_to_correct() -> None:
    with pytest.raises(UserError, match=r"^file: --kind y; expected x with --on; restore the file"):
        from_json(Config, {"kind": "y"}, "file")


def test_a_string_that_is_not_unicode_is_refused_without_repeating_the_document() -> None:
    with pytest.raises(UserError, match=r"^file contains a string that is not valid Unicode; expected Unicode text"):
        from_json(Config, {"name": "\ud800"}, "file")


def test_integers_stay_integers_where_both_are_accepted() -> None:
    @config_dataclass
    class Numbers:
        history: list[dict[str, int | float]]

    made = from_json(Numbers, {"history": [{"epoch": 1, "loss": 0.5}]}, "file")
    assert repr(made.history) == "[{'epoch': 1, 'loss': 0.5}]"
    for wrong in (True, math.nan, "1"):
        with pytest.raises(UserError):
            from_json(Numbers, {"history": [{"epoch": wrong}]}, "file")
