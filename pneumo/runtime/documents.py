"""Read JSON documents that somebody else may have written: bounded in size and depth (``config`` checks the fields)."""

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 64 << 20
"""The history of thousands of epochs takes a few million."""


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
