"""Values of single elements, converted from their bytes so that no patient's data gets into a warning or an error.

pydicom converts an element on first access: it validates the value, quotes it in warnings, and raises an exception that
quotes it when it cannot be converted. The functions here do none of that; a malformed value is as good as a missing
one. They are also several times faster.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from pneumo.dicom.rejection import CORRECT_HEADER, FileRejectedError, Reason


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


def integer(dataset: Dataset, keyword: str | BaseTag, default: int = 0) -> int:
    """Return an unsigned binary element (VR US), or ``default`` when it is missing or of another length."""
    value = _value(dataset, keyword)
    if isinstance(value, bytes):
        order: Literal["big", "little"] = "big" if _is_big_endian(dataset, keyword) else "little"
        return int.from_bytes(value, order) if len(value) == 2 else default
    return value if isinstance(value, int) else default


def words(dataset: Dataset, keyword: str) -> npt.NDArray[np.uint16]:
    """Return a binary element of one or more numbers (VR US, SS or OW) as unsigned words; empty when it is missing."""
    value = _value(dataset, keyword)
    if isinstance(value, bytes):
        order = ">u2" if _is_big_endian(dataset, keyword) else "<u2"
        return np.frombuffer(value[: len(value) // 2 * 2], order).astype(np.uint16)
    listed = value if isinstance(value, MultiValue | list | tuple) else [value]
    return np.array([number for number in listed if isinstance(number, int)], np.int64).astype(np.uint16)


def packed_bytes(dataset: Dataset, keyword: str) -> npt.NDArray[np.uint8]:
    """Return the bytes that are packed into a binary element: of a word the low one first, PS3.5 8.1.1.

    Bytes of VR OB have no byte order.
    """
    is_swapped = _is_big_endian(dataset, keyword) and vr(dataset, keyword) == "OB"
    return words(dataset, keyword).astype(">u2" if is_swapped else "<u2").view(np.uint8)


def vr(dataset: Dataset, keyword: str) -> str:
    """Return the value representation that the file gives an element; empty when it gives none."""
    return getattr(_item(dataset, keyword), "VR", None) or ""


def first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence; None when it is missing or empty.

    Raises:
        FileRejectedError: When the element is not a sequence.
    """
    if not _value(dataset, keyword):
        return None
    items = dataset[keyword].value
    if not isinstance(items, Sequence):
        found = f"a {keyword} that is not a sequence"
        raise FileRejectedError(Reason.BAD_FRAME, "render", found, "a sequence of items", CORRECT_HEADER)
    return items[0] if items else None


def is_malformed(dataset: Dataset, keyword: str) -> bool:
    """Return whether an unsigned binary element (VR US) has a value that is not a single number."""
    return _value(dataset, keyword) not in (None, b"", "") and integer(dataset, keyword, -1) < 0


def correct_vr(dataset: Dataset, keyword: str) -> None:
    """Give an unsigned binary element the VR of the DICOM dictionary, US, whatever the file says.

    pydicom's decoders then take it for the number that :func:`integer` returns.
    """
    item = _item(dataset, keyword)
    if isinstance(item, RawDataElement) and item.VR != "US":
        dataset[item.tag] = item._replace(VR="US")


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return a decimal or integer string element (VR DS or IS) as floats; empty when any is not a finite number."""
    try:
        found = [float(part) for part in text(dataset, keyword).split("\\")]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def tags(keywords: Iterable[str | int]) -> frozenset[BaseTag]:
    """Return the tags of keywords of the DICOM dictionary, or of numbers."""
    return frozenset(map(_tag, keywords))


@cache
def _tag(keyword: str | int) -> BaseTag:
    return Tag(keyword)


def _item(dataset: Dataset, keyword: str | BaseTag) -> object:
    # Without keep_deferred pydicom converts elements without a value, and raises on a VR that it does not know.
    return dataset.get_item(_tag(keyword), keep_deferred=True)


def _value(dataset: Dataset, keyword: str | BaseTag) -> object:
    return getattr(_item(dataset, keyword), "value", None)


def _is_big_endian(dataset: Dataset, keyword: str | BaseTag) -> bool:
    """Return whether the bytes of an element's numbers are in big endian."""
    is_little = getattr(_item(dataset, keyword), "is_little_endian", None)
    return (dataset.original_encoding[1] if is_little is None else is_little) is False
