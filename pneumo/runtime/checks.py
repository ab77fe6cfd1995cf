"""Check typed configuration: that values are what their annotations say, and that numbers lie in their ranges.

The command line gives values of the right types, a record on disk may not; NaN and infinity are numbers to both.
"""

import math
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pneumo.runtime.errors import UserError

LARGEST_SEED = 2**32 - 1
MOST_WORKERS = 4096
"""Threads or processes on one machine; more is a slip of the pen that would only exhaust it."""
MOST_RANKS = 65_536
WEEK_S = 7 * 86_400


def flag(name: str, prefix: str = "") -> str:
    """Return the flag of a field: ``min_component`` is ``--min-component``."""
    return f"--{prefix}{name}".replace("_", "-")


def refuse(name: str, value: object, accepted: str, prefix: str = "") -> UserError:
    """Make the error of a field with a wrong value."""
    words = flag(name, prefix)
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return UserError(f"{words} {shown}", accepted, f"correct {words}")


def within(config: object, prefix: str = "", **bounds: tuple[float, float]) -> None:
    """Check that numbers lie between their bounds, both included.

    Args:
        config: A dataclass.
        prefix: What stands before its fields' names in their flags.
        bounds: Least and greatest value of each field; of a tuple, of each of its values.

    Raises:
        UserError: Naming the flag, the value found and the values accepted.
    """
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        # NaN lies between no bounds.
        if not all(low <= number <= high for number in (value if isinstance(value, tuple) else (value,))):
            raise refuse(name, value, f"{low} to {high}", prefix)


def types(config: object, prefix: str = "") -> None:
    """Check that every field holds a value of its annotated type, and that no number is NaN or infinite.

    Raises:
        UserError: Naming the flag, the value found and the values accepted.
    """
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is(value, hint):
            raise refuse(name, value, _describe(hint), prefix)


def _is(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        # Not "in": True == 1, and unhashable values are no members either.
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(item, arguments[0]) for item in value)
    if origin in (Union, UnionType):
        return any(_is(value, choice) for choice in arguments)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is int if hint is int else isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return f"a list, each value {_describe(arguments[0])}"
    if origin in (Union, UnionType):
        return " or ".join(map(_describe, arguments))
    named = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "nothing"}
    return named.get(hint, f"the fields of {getattr(hint, '__name__', hint)}")
