"""Values of single elements, converted from their bytes so that no patient's data gets into a warning or an error.

pydicom converts an element on first access: it validates the value, quotes it in warnings, and raises an exception that
quotes it when it cannot be converted. The functions here do none of that; a malformed value is as good as a missing
one. They are also several times faster.
"""

import math
from collections.abc import Iterable
from functools import cache

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag


def text(dataset: Dataset, keyword: str) -> str:
    """Return a text element without its padding, several values joined by backslashes.

    Empty when it is missing, or a sequence.
    """
    value = _value(dataset, keyword)
    if value is None or isinstance(value, Sequence):
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def transfer_syntax(dataset: Dataset) -> str:
    """Return the UID of the transfer syntax as it is in the file, which may be any string; empty when it is missing."""
    meta = getattr(dataset, "file_meta", None)
    return "" if meta is None else text(meta, "TransferSyntaxUID")


def integer(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """Return an unsigned binary element (VR US), or ``default`` when it is missing or of another length."""
    value = _value(dataset, keyword)
    if isinstance(value, bytes):
        item = dataset.get_item(keyword)
        little = getattr(item, "is_little_endian", True)
        return int.from_bytes(value, "little" if little else "big") if len(value) == 2 else default
    return value if isinstance(value, int) else default


def is_malformed(dataset: Dataset, keyword: str) -> bool:
    """Return whether an unsigned binary element (VR US) has a value that is not a single number."""
    return _value(dataset, keyword) not in (None, b"", "") and integer(dataset, keyword, -1) < 0


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return a decimal or integer string element (VR DS or IS) as floats; empty when any is not a finite number."""
    try:
        found = [float(part) for part in text(dataset, keyword).split("\\")]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def tags(keywords: Iterable[str]) -> frozenset[BaseTag]:
    """Return the tags of keywords of the DICOM dictionary."""
    return frozenset(map(_tag, keywords))


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _value(dataset: Dataset, keyword: str) -> object:
    # Without keep_deferred pydicom converts elements without a value, and raises on a VR that it does not know.
    return getattr(dataset.get_item(_tag(keyword), keep_deferred=True), "value", None)
