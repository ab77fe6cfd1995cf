"""Parse a DICOM file into the elements asked for, not converted yet."""

import io
import zlib
from collections.abc import Callable
from typing import BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import AllTransferSyntaxes, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pneumo.dicom import file_kinds
from pneumo.dicom.rejection import FETCH_AGAIN, FileRejectedError, Reason, explain
from pneumo.dicom.values import text

_PIXEL_DATA = BaseTag(0x7FE00010)
_PREFIX = b"DICM"
_META_OFFSET = 132
_META_GROUP = b"\x02\x00"
_FIRST_GROUPS = (_META_GROUP, b"\x08\x00", b"\x00\x02", b"\x00\x08")
"""Groups 0002 and 0008 in both byte orders: how a file without a preamble begins."""
_EXPLICIT_LITTLE = frozenset(
    str(uid) for uid in AllTransferSyntaxes if uid == ExplicitVRLittleEndian or uid.is_encapsulated
)
"""Transfer syntaxes whose elements are in explicit VR little endian, in a file that is not deflated."""

MAX_INFLATED = 1 << 29
"""Most bytes that a deflated file may inflate to: more than the largest image takes in color and 16 bits."""
Elements = dict[BaseTag, DataElement | RawDataElement]
StopWhen = Callable[[BaseTag, str | None, int], bool]


class ElementOrder:
    """Whether the elements of a file ascend, as PS3.5 7.1 requires: then none occurs twice."""

    def __init__(self) -> None:
        self._last, self._ascends = -1, True

    @property
    def ascends(self) -> bool:
        """Whether they do; False when none was seen."""
        return self._ascends and self._last >= 0

    def see(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        """See the next element; as a ``StopWhen``, never stop."""
        number = int(tag)
        self._ascends &= number > self._last
        self._last = number
        return False


def parse(
    file: BinaryIO, elements: frozenset[BaseTag], last: BaseTag | None = None, order: ElementOrder | None = None
) -> Dataset:
    """Parse some elements of a file with or without a preamble, and its ``file_meta``.

    Args:
        file: The file, open at its start.
        elements: Tags to read; all others are skipped.
        last: Tag to stop after, None to read to the end.
        order: Told, of a file in explicit VR little endian that is read to its end, whether its elements ascend.

    Raises:
        FileRejectedError: When the file has another format, or its structure is damaged.
        OSError: When reading fails.
        MemoryError: When ``last`` is None and the elements do not fit into memory.
    """
    beginning = file.read(_META_OFFSET)
    file.seek(0)
    has_prefix = beginning.endswith(_PREFIX)
    if not has_prefix and not beginning.startswith(_FIRST_GROUPS):
        raise file_kinds.rejection(file.read(file_kinds.BEGINNING))
    start = _META_OFFSET if has_prefix else 0
    stop_when = None if last is None else _after(last)
    watch = order.see if stop_when is None and order is not None else stop_when
    try:
        has_meta = has_prefix or beginning.startswith(_META_GROUP)
        dataset = _parse_explicit_little_endian(file, start, elements, watch) if has_meta else None
        if dataset is None:
            file.seek(0)
            dataset = read_partial(file, stop_when=stop_when, force=True, specific_tags=list(elements))
    except FileRejectedError:
        raise
    except MemoryError:
        if last is None:
            raise
        # A header is small; reading allocates as many bytes as an element declares.
        raise _bad_header("an element longer than the memory", "a DICOM header") from None
    except Exception as error:
        # pydicom raises OSError for damaged data too; only those of the operating system have a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _bad_header(explain(error, "a header that is damaged"), "a DICOM header") from None
    return dataset


def _parse_explicit_little_endian(
    file: BinaryIO, start: int, elements: frozenset[BaseTag], stop_when: StopWhen | None
) -> Dataset | None:
    """Parse a file whose meta header is at ``start`` and whose elements are in explicit VR little endian.

    pydicom's ``dcmread`` and ``read_partial`` do this too, but they inflate a deflated file without a limit, and only
    log a warning when a file ends inside an element behind its pixel data. They also take longer.

    Returns:
        The dataset, or None when the file is in another encoding.
    """
    file.seek(start)
    meta = FileMetaDataset(_collect(file, None, lambda tag, vr, length: tag >> 16 != 2))
    syntax = text(meta, "TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        file = io.BytesIO(_inflate(file.read()))
    elif syntax not in _EXPLICIT_LITTLE:
        return None
    start = file.tell()
    vr = file.read(6)[4:]
    file.seek(start)
    if not (vr.isalpha() and vr.isupper()):
        # In implicit VR; some writers declare another transfer syntax.
        return None
    dataset = Dataset(_collect(file, elements, stop_when))
    dataset.file_meta = meta
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    return dataset


def _inflate(data: bytes) -> bytes:
    """Inflate a deflated dataset (PS3.5 A.5), which may be a thousand times larger, up to ``MAX_INFLATED`` bytes."""
    # The size is only known at the end. A first pass measures it and keeps nothing.
    stream, left, size = zlib.decompressobj(-zlib.MAX_WBITS), data, 0
    while not stream.eof and size <= MAX_INFLATED:
        piece = stream.decompress(left, 1 << 20)
        left = stream.unconsumed_tail
        if not (piece or left or stream.eof):
            raise _bad_header("a deflated dataset without an end", "a whole file")
        size += len(piece)
    if size > MAX_INFLATED:
        raise _too_large(f"{len(data)} bytes that inflate to more than {MAX_INFLATED} bytes")
    try:
        return zlib.decompress(data, -zlib.MAX_WBITS, size)
    except MemoryError:
        raise _too_large(f"{len(data)} bytes that inflate to more than the memory") from None


def _too_large(found: str) -> FileRejectedError:
    return FileRejectedError(Reason.TOO_MUCH_MEMORY, "header", found, "a deflated image", "leave it out")


def _collect(file: BinaryIO, tags: frozenset[BaseTag] | None, stop_when: StopWhen | None) -> Elements:
    elements: Elements = {}
    specific: list[BaseTag | int] | None = None if tags is None else list(tags)
    try:
        for element in data_element_generator(file, False, True, stop_when=stop_when, specific_tags=specific):
            elements[element.tag] = element
    except EOFError:
        if _PIXEL_DATA in elements:
            # The incomplete element may be a second Pixel Data, and of two the last one counts.
            found = "a file that ends inside an element"
            raise FileRejectedError(Reason.BAD_FRAME, "header", found, "a whole file", FETCH_AGAIN) from None
        # Otherwise the last element is left out, as read_partial does.
    return elements


def _after(last: BaseTag) -> StopWhen:
    # Comparing numbers and not tags, which pydicom does in Python.
    end = int(last)
    return lambda tag, vr, length: int(tag) > end


def _bad_header(found: str, expected: str) -> FileRejectedError:
    return FileRejectedError(Reason.BAD_HEADER, "header", found, expected, FETCH_AGAIN)
