"""A file's bytes to the elements asked for, as raw as pydicom gives them."""

import io
import zlib
from collections.abc import Callable
from typing import BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import AllTransferSyntaxes, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pneumo.dicom.rejection import DicomRejectedError, Reason, describe
from pneumo.dicom.values import text

_NEW_COPY = "fetch the file again from its source"
_PIXEL_DATA = BaseTag(0x7FE00010)
_PREFIX = b"DICM"
_META_OFFSET = 132
_META_GROUP = b"\x02\x00"
_FIRST_GROUPS = (_META_GROUP, b"\x08\x00", b"\x00\x02", b"\x00\x08")
"""Groups 0002 and 0008 in both byte orders: how a file without a preamble begins."""
_EXPLICIT_LITTLE = frozenset(
    str(uid) for uid in AllTransferSyntaxes if uid == ExplicitVRLittleEndian or uid.is_encapsulated
)
"""Transfer syntaxes whose elements are in explicit VR little endian."""

MAX_INFLATED = 1 << 29
"""Bytes that a deflated file may inflate to: more than the largest image has, in colour and 16 bits."""
_KINDS = {
    b"<": "HTML or XML",
    b"{": "JSON",
    b"[": "JSON",
    b"PK": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a JPEG",
    b"\x89PNG": "a PNG",
}
"""How files begin that are often taken for DICOM, after white space."""

Elements = dict[BaseTag, DataElement | RawDataElement]
StopWhen = Callable[[BaseTag, str | None, int], bool]


def parse(file: BinaryIO, elements: frozenset[BaseTag], last: BaseTag | None = None) -> Dataset:
    """Parse the elements named of a file with or without a preamble, with its ``file_meta``.

    Args:
        file: The file, open at its start.
        elements: Tags to read; all others are skipped.
        last: Tag to stop after, None to read to the end.

    Raises:
        Rejected: When this is not DICOM, or its structure is damaged.
        OSError: When reading fails.
        MemoryError: When the file as a whole needs more memory than there is.
    """
    beginning = file.read(_META_OFFSET)
    file.seek(0)
    has_prefix = beginning.endswith(_PREFIX)
    if not has_prefix and not beginning.startswith(_FIRST_GROUPS):
        raise _not_dicom(_kind(beginning), "a DICOM file")
    stop_when = None if last is None else _after(last)
    start = _META_OFFSET if has_prefix else 0
    try:
        has_meta = has_prefix or beginning.startswith(_META_GROUP)
        dataset = _parse_ordinary(file, start, elements, stop_when) if has_meta else None
        if dataset is None:
            file.seek(0)
            dataset = read_partial(file, stop_when=stop_when, force=True, specific_tags=list(elements))
    except DicomRejectedError:
        raise
    except MemoryError:
        if last is None:
            raise
        # A header is small; reading makes room for as many bytes as an element says it has.
        raise _not_dicom("an element that claims to be longer than memory", "a DICOM header") from None
    except Exception as error:
        # pydicom raises OSError for damaged data too; only the operating system's has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _not_dicom(describe(error), "a DICOM header") from None
    return dataset


def _parse_ordinary(
    file: BinaryIO, start: int, elements: frozenset[BaseTag], stop_when: StopWhen | None
) -> Dataset | None:
    """Parse a file whose meta header is at ``start`` and says explicit VR little endian, None when it is another kind.

    That is what ``read_partial`` does, without what it does for other kinds and for writing the file again: half
    of the time that a file takes which is passed through. A deflated file is inflated here, since ``read_partial``
    sets no limit to that.
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
        # In implicit VR, whatever the meta header says; some writers get that wrong.
        return None
    dataset = Dataset(_collect(file, elements, stop_when))
    dataset.file_meta = meta
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    return dataset


def _inflate(data: bytes) -> bytes:
    """Inflate a deflated dataset (PS3.5 A.5), up to a limit: a bomb has a thousandth of its contents' size."""
    # The size is known only at the end, and a bomb should cost no memory.
    stream, left, size = zlib.decompressobj(-zlib.MAX_WBITS), data, 0
    while not stream.eof and size <= MAX_INFLATED:
        piece = stream.decompress(left, 1 << 20)
        left = stream.unconsumed_tail
        if not (piece or left or stream.eof):
            raise _not_dicom("a deflated dataset without an end", "a whole file")
        size += len(piece)
    if size > MAX_INFLATED:
        raise _bomb(f"{len(data)} bytes that inflate to more than {MAX_INFLATED} bytes")
    try:
        return zlib.decompress(data, -zlib.MAX_WBITS, size)
    except MemoryError:
        raise _bomb(f"{len(data)} bytes that inflate to more than the memory of one file") from None


def _bomb(found: str) -> DicomRejectedError:
    return DicomRejectedError(Reason.TOO_MUCH_MEMORY, "header", found, "a deflated image", "leave it out")


def _collect(file: BinaryIO, elements: frozenset[BaseTag] | None, stop_when: StopWhen | None) -> Elements:
    found: Elements = {}
    specific: list[BaseTag | int] | None = None if elements is None else list(elements)
    try:
        for element in data_element_generator(file, False, True, stop_when=stop_when, specific_tags=specific):
            found[element.tag] = element
    except EOFError:
        if _PIXEL_DATA in found:
            # What is cut may be other pixel data: pydicom takes the last.
            found_here = "a file that ends inside an element"
            raise DicomRejectedError(Reason.BAD_FRAME, "header", found_here, "a whole file", _NEW_COPY) from None
        # Else the last element is left out, as read_partial leaves it out.
    return found


def _after(last: BaseTag) -> StopWhen:
    return lambda tag, vr, length: int(tag) > last


def _kind(beginning: bytes) -> str:
    """Name what a file that is not DICOM seems to be; nothing it says is repeated."""
    content = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    known = [f", {name} by its first bytes" for start, name in _KINDS.items() if content.startswith(start)]
    kind = "text" if beginning.isascii() and b"\0" not in beginning else "binary data"
    return f"{kind} without a DICOM prefix{''.join(known)}"


def _not_dicom(found: str, expected: str) -> DicomRejectedError:
    return DicomRejectedError(Reason.NOT_DICOM, "header", found, expected, _NEW_COPY)
