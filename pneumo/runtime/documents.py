"""Read JSON documents that somebody else may have written: bounded in size and depth (``config`` checks the fields)."""

import json
from collections.abc import Mapping
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
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"a JSON {type(content).__name__}, not an object")
    return content


def read_version(path: Path, version: int, what: str) -> dict[str, Any]:
    """Read a JSON object whose ``format_version`` is ``version``.

    Args:
        path: The file.
        version: The version that this version of pneumo writes.
        what: What the file is, for messages.

    Raises:
        UserError: When it is missing, damaged or of another version.
    """
    try:
        content = read(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", what, "restore the file") from error
    check_version(path, content, version, "use the version of pneumo that wrote it, or train the run again")
    return content


def check_version(path: Path, content: Mapping[str, object], version: int, action: str) -> None:
    """Check the ``format_version`` of a document.

    Args:
        path: Where it was read, for the message.
        content: The document.
        version: The version that this version of pneumo writes.
        action: What to do about another one.

    Raises:
        UserError: When it has another version.
    """
    found = content.get("format_version")
    if found != version or isinstance(found, bool):
        raise UserError(f"{path} has format version {str(found)[:20]}", f"format version {version}", action)
