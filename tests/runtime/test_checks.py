"""Types and bounds of typed configuration."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from pneumo.runtime import checks
from pneumo.runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Config:
    count: int = 1
    rate: float = 0.5
    name: str = "a"
    on: bool = True
    kind: Literal["x", "y"] = "x"
    sizes: tuple[int, ...] = (1, 2)
    maybe: float | None = None
    inner: Inner = Inner()


@pytest.mark.parametrize("right", [{}, {"rate": 1}, {"sizes": ()}, {"maybe": 2.0}, {"kind": "y"}, {"count": 10**30}])
def test_right_types_pass(right: dict[str, object]) -> None:
    checks.types(replace(Config(), **right))  # type: ignore[arg-type]


WRONG = {
    "text for a number": ({"count": "1"}, "--x.count 1; expected a whole number; correct --x.count"),
    "true for a number": ({"count": True}, "--x.count True; expected a whole number"),
    "a fraction for a count": ({"count": 1.0}, "--x.count 1.0; expected a whole number"),
    "true for a rate": ({"rate": True}, "--x.rate True; expected a finite number"),
    "NaN": ({"rate": math.nan}, "--x.rate nan; expected a finite number"),
    "infinity": ({"rate": -math.inf}, "--x.rate -inf; expected a finite number"),
    "NaN or nothing": ({"maybe": math.nan}, "--x.maybe nan; expected a finite number or nothing"),
    "a number for a text": ({"name": 1}, "--x.name 1; expected a text"),
    "a number for a switch": ({"on": 1}, "--x.on 1; expected true or false"),
    "another choice": ({"kind": "z"}, "--x.kind z; expected one of x, y"),
    "a list for a choice": ({"kind": ["x"]}, "--x.kind"),
    "one for a list": ({"sizes": 1}, "--x.sizes 1; expected a list, each value a whole number"),
    "a text in a list": ({"sizes": (1, "2")}, "--x.sizes 1 2; expected a list"),
    "nothing for a config": ({"inner": None}, "--x.inner None; expected the fields of Inner"),
}


@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG)
def test_wrong_types_are_named(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        checks.types(replace(Config(), **wrong), "x.")  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [0, 10, 3])
def test_bounds_are_included(value: int) -> None:
    checks.within(Config(count=value, sizes=(value, 1)), count=(0, 10), sizes=(0, 10), rate=(0.5, 0.5))


@pytest.mark.parametrize("value", [-1, 11, 10**30, math.nan, math.inf])
def test_what_lies_outside_of_bounds_is_named(value: float) -> None:
    with pytest.raises(UserError, match=r"--count .*; expected 0 to 10; correct --count"):
        checks.within(Config(count=value), count=(0, 10))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--sizes 1 .*; expected 0 to 10"):
        checks.within(Config(sizes=(1, value)), sizes=(0, 10))  # type: ignore[arg-type]
