"""Configuration: frozen dataclasses whose fields' types and ranges are checked by pydantic.

A field's range is in its annotation, beside its docstring::

    @config_dataclass
    class Arguments:
        seed: Annotated[int, Interval(ge=0, le=100)] = 0
        # its docstring

The command line (tyro reads the same classes), JSON documents (``from_json``) and Python callers are checked alike:
values have exactly their type (no ``"1"`` for 1, no 1 for true), numbers are finite, unknown fields are refused.
What an annotation cannot express (one field depends on another) is checked in ``__post_init__`` by ``refuse``.
Defaults are for the command line and Python: a document has every field, since pneumo writes every field.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import pydantic.dataclasses
from annotated_types import Interval, Len, MinLen, MultipleOf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pneumo.runtime.errors import UserError

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
MAX_SHOWN_LENGTH = 60
"""Characters of a wrong value in a message."""
_RESTORE = "restore the file, or read it with the version of pneumo that wrote it"
_NAMES = {int: "an integer", float: "a finite number", bool: "true or false", str: "a string", NoneType: "null"}


@overload
def config_dataclass(cls: type[T]) -> type[T]: ...
@overload
def config_dataclass(*, flag_prefix: str = "", frozen: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def config_dataclass(
    cls: type[T] | None = None, *, flag_prefix: str = "", frozen: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a keyword-only dataclass that checks its fields whenever an instance is made.

    A wrong value raises ``UserError``, which names the flag, the value found and the values accepted.

    Args:
        cls: The class.
        flag_prefix: Prefix of the fields' flags: ``model.`` for ``--model.encoder``.
        frozen: False for state that changes.
    """
    if cls is None:
        return functools.partial(_make, flag_prefix=flag_prefix, frozen=frozen)
    return _make(cls, flag_prefix=flag_prefix, frozen=frozen)


def _make(cls: type[T], *, flag_prefix: str, frozen: bool) -> type[T]:
    made: Any = pydantic.dataclasses.dataclass(cls, frozen=frozen, kw_only=True, config=STRICT)
    for name, field in made.__pydantic_fields__.items():
        if name in cls.__annotations__ and field.description:
            # tyro's own reading of the docstrings would keep their line ends.
            made.__dataclass_fields__[name].metadata = {"help": _help(cls.__annotations__[name], field.description)}
    validate = made.__init__

    @functools.wraps(validate)
    def init(self: Any, *args: Any, **values: Any) -> None:
        try:
            validate(self, *args, **values)
        except ValidationError as error:
            raise _wrong_flag(made, error, flag_prefix) from None

    made.__init__ = init
    return made  # type: ignore[no-any-return]


def _help(annotation: Any, docstring: str) -> str:
    """Return the help of a field's flag: the docstring below the field, and the range of its numbers."""
    text = " ".join(docstring.replace("``", "").split())
    return f"{text} Accepts {describe(annotation)}." if _is_bounded(annotation) else text


def _is_bounded(annotation: Any) -> bool:
    return isinstance(annotation, Interval) or any(map(_is_bounded, get_args(annotation)))


def from_json(cls: type[T], values: object, where: str) -> T:
    """Make an instance of JSON values: objects become nested dataclasses, arrays tuples.

    Args:
        cls: A ``config_dataclass``.
        values: Content of the document.
        where: The document and the path within it, for messages.

    Raises:
        UserError: When this is not an object, or a field is unknown, missing (even one with a default), of another
            type, or out of its range.
    """
    try:
        kind: Any = cls
        made: T = _adapter(kind).validate_json(json.dumps(values))
    except ValidationError as error:
        raise _wrong_document(cls, error, where) from None
    except UserError as error:
        # Of a ``__post_init__``, which names flags: the command that reads a document need not have them.
        raise UserError(f"{where}: {error.found}", error.expected, _RESTORE) from None
    for path in _missing_fields(made, values):
        raise _missing(f"{where}.{path}")
    return made


def _missing_fields(made: Any, values: Any) -> Iterator[str]:
    """Yield the paths of the fields, of an instance and of its nested ones, that its JSON values do not have."""
    if dataclasses.is_dataclass(made):
        for entry in dataclasses.fields(made):
            if entry.name not in values:
                yield entry.name
            else:
                inner = _missing_fields(getattr(made, entry.name), values[entry.name])
                yield from (f"{entry.name}.{path}" for path in inner)


def invalid_value(name: str, value: Any, accepted: str, flag_prefix: str = "") -> UserError:
    """Return the error of a field whose value contradicts the other fields."""
    named = flag(name, flag_prefix)
    several = isinstance(value, tuple)
    shown = " ".join(map(str, value)) if several else value
    by_commas = several and any("," in str(one) for one in value)
    return UserError(f"{named} {shown}", accepted, by_spaces("values") if by_commas else f"correct {named}")


def by_spaces(what: str) -> str:
    """Return what to do about values of one flag that are separated by commas.

    Args:
        what: Their name in the plural.
    """
    return f"separate several {what} by spaces, not by commas"


def flag(name: str, prefix: str = "") -> str:
    """Return the flag of a field: ``min_component`` is ``--min-component``."""
    return f"--{prefix}{name}".replace("_", "-")


def describe(annotation: Any) -> str:
    """Return which values an annotation accepts, for example ``0 to 100`` or ``one of unet, unetplusplus``."""
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return _describe_annotated(base, metadata)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        listed = ", ".join(map(str, arguments))
        return f"one of {listed}" if len(arguments) > 1 else listed
    if origin in (tuple, list):
        return f"a list, each value {describe(arguments[0])}"
    if origin is dict:
        return f"an object, each value {describe(arguments[1])}"
    if origin in (Union, UnionType):
        return " or ".join(map(describe, arguments))
    if dataclasses.is_dataclass(annotation):
        return "an object with the fields of this version of pneumo"
    return _NAMES.get(annotation, f"a {getattr(annotation, '__name__', annotation)}")


def _describe_annotated(base: Any, metadata: list[Any]) -> str:
    bounds = next((item for item in metadata if isinstance(item, Interval)), None)
    multiple = next((item for item in metadata if isinstance(item, MultipleOf)), None)
    if bounds is not None:
        if bounds.gt is None and bounds.lt is None:
            joined = f"{_number(bounds.ge)} to {_number(bounds.le)}"
        else:
            low = f"above {bounds.gt}" if bounds.gt is not None else f"at least {bounds.ge}"
            joined = f"{low} and " + (f"below {bounds.lt}" if bounds.lt is not None else f"at most {bounds.le}")
        return joined if multiple is None else f"a multiple of {multiple.multiple_of}, {joined}"
    length = next((item for item in metadata if isinstance(item, Len)), None)
    if length is not None:
        return f"{length.min_length} values, each {describe(get_args(base)[0])}"
    if any(isinstance(item, MinLen) for item in metadata):
        return f"at least one value, each {describe(get_args(base)[0])}"
    return describe(base)


def _number(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def _wrong_flag(cls: Any, error: ValidationError, prefix: str) -> UserError:
    first = error.errors(include_url=False)[0]
    names, annotation = _locate(cls, first["loc"])
    name = flag(".".join(names), prefix)
    if first["type"] in ("unexpected_keyword_argument", "missing"):
        # A bug of the caller: no command line leads here.
        raise TypeError(f"{cls.__name__}: {first['msg']}: {name}")
    return UserError(f"{name} {_show(first['input'])}", _accepted(annotation, first["type"]), f"correct {name}")


def _locate(cls: Any, path: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """Follow an error's location into a class.

    Returns:
        The names of the fields on the way, without the positions in tuples and the keys in dicts, and the annotation
        that is found there, or the innermost one that is known.
    """
    names: list[str] = []
    annotation = cls
    for part in path:
        inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if dataclasses.is_dataclass(inner):
            names.append(str(part))
            annotation = get_type_hints(inner, include_extras=True).get(str(part))
        elif get_origin(inner) in (tuple, list, dict):
            annotation = get_args(inner)[1 if get_origin(inner) is dict else 0]
        else:
            break
    return names, annotation


def _wrong_document(cls: Any, error: ValidationError, where: str) -> UserError:
    first = error.errors(include_url=False)[0]
    location = ".".join([where, *map(str, first["loc"])])
    if first["type"] == "json_invalid":
        return UserError(f"{where} contains a string that is not valid Unicode", "Unicode text", _RESTORE)
    if first["type"] == "unexpected_keyword_argument":
        return UserError(f"{location} is an unknown field", "the fields of this version of pneumo", _RESTORE)
    if first["type"].startswith("missing"):
        return _missing(location)
    _, annotation = _locate(cls, first["loc"])
    return UserError(f"{location} is {_show(first['input'])}", _accepted(annotation, first["type"]), _RESTORE)


def _missing(location: str) -> UserError:
    return UserError(f"{location} is missing", "every field", _RESTORE)


def _accepted(annotation: Any, error_type: str) -> str:
    """Return what was expected; the type, too, when a number has the wrong one."""
    described = describe(annotation)
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    wrong_type = error_type in ("int_type", "int_from_float", "float_type", "finite_number")
    named = _NAMES.get(base, "")
    return f"{named}, {described}" if wrong_type and named and named != described else described


def _show(value: object) -> str:
    text = value if isinstance(value, str) else " ".join(map(str, value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}..."
