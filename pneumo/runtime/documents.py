"""Read JSON documents that somebody else may have written: of bounded size and depth (``config.from_json`` checks)."""

import json
from pathlib import Path
from typing import Any

LARGEST = 64 << 20
"""Bytes; the history of thousands of epochs has a few million."""


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
