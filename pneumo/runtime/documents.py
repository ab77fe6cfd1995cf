"""JSON documents that somebody else may have written: bounded, checked against a dataclass, refused in one line."""

import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pneumo.runtime.errors import UserError

LARGEST = 64 << 20
"""Bytes; the history of thousands of epochs has a few million."""
SHOWN = 60
"""Characters of a wrong value in a message."""

T = TypeVar("T")


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: When there is no such file.
        OSError: When it cannot be read.
        ValueError: When it is no regular file, too large, nested too deeply, or no JSON object.
    """
    if path.exists() and not path.is_file():
        raise ValueError("no regular file")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"no JSON object but a {type(content).__name__}")
    return content


def build(cls: type[T], values: object, where: str) -> T:
    """Make a dataclass of JSON values: objects become nested dataclasses, arrays tuples. Defaults may be missing.

    Args:
        cls: The dataclass.
        values: What stands in the document.
        where: Names the document and the place in it, for messages.

    Raises:
        UserError: When this is no object, or a field is unknown, missing, of another type, or out of its range.
    """
    if not isinstance(values, dict):
        raise _refused(f"{where} is {_show(values)}", "an object with the fields of this version of pneumo")
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise _refused(
            f"{where} has unknown field(s) {_show(', '.join(unknown))}", "the fields of this version of pneumo"
        )
    missing = [field.name for field in _required(cls) if field.name not in values]
    if missing:
        raise _refused(f"{where} has no field {', '.join(missing)}", "every field")
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            arguments[name] = build(hints[name], value, f"{where}.{name}")
        elif _fits(value, hints[name]):
            arguments[name] = tuple(value) if get_origin(hints[name]) is tuple else value
        else:
            raise _refused(f"{where}.{name} is {_show(value)}", f"a value of the type {_name(hints[name])}")
    return cls(**arguments)


def _required(cls: Any) -> list["dataclasses.Field[Any]"]:
    return [
        field
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _fits(value: object, hint: Any) -> bool:
    """Return whether a JSON value is one of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(value == allowed and type(value) is type(allowed) for allowed in arguments)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        fits = isinstance(value, list) and len(value) == len(arguments)
        return fits and all(map(_fits, value, arguments))  # type: ignore[call-overload]
    if origin in (tuple, list):
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(_fits(item, arguments[1]) for item in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _refused(found: str, expected: str) -> UserError:
    return UserError(found, expected, "restore the file, or read it with the version that wrote it")


def _show(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint).replace("typing.", "")
