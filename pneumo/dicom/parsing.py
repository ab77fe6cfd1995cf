"""A file's bytes to the elements asked for, as raw as pydicom gives them."""

import contextlib
import zlib
from collections.abc import Callable
from typing import BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import AllTransferSyntaxes, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pneumo.dicom.rejection import Reason, Rejected, describe
from pneumo.dicom.values import text

_PREFIX = b"DICM"
_META_OFFSET = 132
_META_GROUP = b"\x02\x00"
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
"""Groups 0002 and 0008 in both byte orders: how a file without a preamble begins."""
_EXPLICIT_LITTLE = frozenset(
    str(uid) for uid in AllTransferSyntaxes if uid == ExplicitVRLittleEndian or uid.is_encapsulated
)
"""Transfer syntaxes whose elements are in explicit VR little endian."""

MAX_INFLATED = 1 << 29
"""Bytes of a deflated dataset: the largest picture that is read, in colour of 16 bits, and more."""

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
    """
    beginning = file.read(_META_OFFSET)
    file.seek(0)
    has_prefix = beginning.endswith(_PREFIX)
    if not has_prefix and not beginning.startswith(_FIRST_GROUPS):
        kind = "text" if beginning.isascii() and b"\0" not in beginning else "binary data"
        raise _not_dicom(f"{kind} without a DICOM prefix", "a DICOM file")
    stop_when = None if last is None else _after(last)
    try:
        dataset = None
        if has_prefix or beginning.startswith(_META_GROUP):
            file.seek(_META_OFFSET if has_prefix else 0)
            dataset = _parse_ordinary(file, elements, stop_when)
        if dataset is None:
            file.seek(0)
            dataset = read_partial(file, stop_when=stop_when, force=True, specific_tags=list(elements))
    except Rejected:
        raise
    except Exception as error:
        # pydicom raises OSError for damaged data too; only the operating system's has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _not_dicom(describe(error), "a DICOM header") from None
    return dataset


def _parse_ordinary(file: BinaryIO, elements: frozenset[BaseTag], stop_when: StopWhen | None) -> Dataset | None:
    """Parse a file from its meta header on, in explicit VR little endian; return None when it is of another kind.

    That is what ``read_partial`` does, without what it does for other kinds and for writing the file again: half
    of the time that a file takes which is passed through.
    """
    meta = FileMetaDataset(_collect(file, None, lambda tag, vr, length: tag >> 16 != 2))
    if text(meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        _check_inflated_size(file)
    if text(meta, "TransferSyntaxUID") not in _EXPLICIT_LITTLE:
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


def _check_inflated_size(file: BinaryIO) -> None:
    """Refuse a deflated dataset that would fill the memory: a thousandfold is possible."""
    inflater, data, size = zlib.decompressobj(-zlib.MAX_WBITS), file.read(), 0
    while data and size <= MAX_INFLATED:
        size += len(inflater.decompress(data, 1 << 20))
        data = inflater.unconsumed_tail
    if size > MAX_INFLATED:
        expected = f"at most {MAX_INFLATED} bytes"
        raise Rejected(Reason.UNSUPPORTED, "header", "a dataset deflated from more", expected, "check where it is from")


def _collect(file: BinaryIO, elements: frozenset[BaseTag] | None, stop_when: StopWhen | None) -> Elements:
    found: Elements = {}
    specific: list[BaseTag | int] | None = None if elements is None else list(elements)
    # The last element of a file that was cut off is left out, as read_partial leaves it out.
    with contextlib.suppress(EOFError):
        for element in data_element_generator(file, False, True, stop_when=stop_when, specific_tags=specific):
            found[element.tag] = element
    return found


def _after(last: BaseTag) -> StopWhen:
    return lambda tag, vr, length: int(tag) > last


def _not_dicom(found: str, expected: str) -> Rejected:
    return Rejected(Reason.NOT_DICOM, "header", found, expected, "fetch the file again from its source")
