"""Read JSON documents that somebody else may have written: bounded in size and depth (``config`` checks the fields)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumo.runtime.errors import UserError

MAX_BYTES = 64 << 20
"""Far above the history of thousands of epochs, which takes a few MB."""


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: When there is no such file.
        OSError: When it cannot be read.
        ValueError: When it is not a regular file, too large, nested too deeply, or not a JSON object.
    """
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        return parse(file.read(MAX_BYTES + 1))


def parse(data: bytes) -> dict[str, Any]:
    """Read a JSON object from a document's bytes.

    Raises:
        ValueError: When it is too large, nested too deeply, or not a JSON object.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"a JSON {type(content).__name__}, not an object")
    return content


def read_versioned(path: Path, version: int, *, expected: str, repair: str, other_version: str) -> dict[str, Any]:
    """Read a JSON object with a ``format_version`` from a file: see ``versioned``."""
    return versioned(
        lambda: read(path), str(path), version, expected=expected, repair=repair, other_version=other_version
    )


def versioned(
    read_content: Callable[[], dict[str, Any]],
    where: str,
    version: int,
    *,
    expected: str,
    repair: str,
    other_version: str,
) -> dict[str, Any]:
    """Read a JSON object with a ``format_version``, and return its other fields.

    Args:
        read_content: Reads it.
        where: The file, for messages.
        version: The version that this version of pneumo writes.
        expected: What the file is, for the message when it is missing or damaged.
        repair: What to do then.
        other_version: What to do when it has another version.

    Raises:
        UserError: When it is missing, damaged or of another version.
    """
    try:
        content = read_content()
    except FileNotFoundError:
        raise UserError(f"{where} does not exist", expected, repair) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{where} cannot be read ({error})", expected, repair) from error
    found = content.pop("format_version", None)
    if type(found) is not int or found != version:
        raise UserError(f"{where} has format version {repr(found)[:20]}", f"format version {version}", other_version)
    return content
