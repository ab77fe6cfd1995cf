"""What a file that is no image seems to be by its first bytes, and what to do about it, without quoting the file."""

import re
from typing import NamedTuple

from pneumo.dicom.rejection import FETCH_AGAIN, FileRejectedError, Reason

BEGINNING = 512
"""Bytes of a file by which its kind is known: a tar has its mark behind the first 257."""

_UNPACK = "unpack it, and give the directory with the files that were in it"
_SAVE_AS_PNG = "save it as a grayscale PNG when it is an X-ray, or leave it out"
_DELETE = "leave it out: macOS has made it for itself; find DIRECTORY -name '._*' -o -name .DS_Store lists such files"
_LEAVE_OUT = "leave it out, or fetch it again when it should be an image"


class _Kind(NamedTuple):
    offset: int
    mark: bytes
    name: str
    action: str


_KINDS = (
    _Kind(0, b"PK\x03\x04", "a zip archive", _UNPACK),
    _Kind(0, b"PK\x05\x06", "an empty zip archive", _LEAVE_OUT),
    _Kind(0, b"PK\x07\x08", "a part of a zip archive", _UNPACK),
    _Kind(0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    _Kind(0, b"BZh", "a bzip2 archive", _UNPACK),
    _Kind(0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    _Kind(0, b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    _Kind(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _Kind(0, b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    _Kind(257, b"ustar", "a tar archive", _UNPACK),
    _Kind(0, b"II*\0", "a TIFF", _SAVE_AS_PNG),
    _Kind(0, b"MM\0*", "a TIFF", _SAVE_AS_PNG),
    _Kind(0, b"GIF8", "a GIF", _SAVE_AS_PNG),
    _Kind(0, b"BM", "a BMP", _SAVE_AS_PNG),
    _Kind(8, b"WEBP", "a WebP", _SAVE_AS_PNG),
    _Kind(0, b"\0\0\0\x0cjP  ", "a JPEG 2000", _SAVE_AS_PNG),
    _Kind(0, b"\xff\x4f\xff\x51", "a JPEG 2000", _SAVE_AS_PNG),
    _Kind(0, b"%PDF", "a PDF", _LEAVE_OUT),
    _Kind(0, b"\0\x05\x16\x07", "what macOS keeps beside a file (AppleDouble)", _DELETE),
    _Kind(0, b"\0\0\0\1Bud1", "a .DS_Store of macOS", _DELETE),
    _Kind(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Thumbs.db or another OLE file", _LEAVE_OUT),
)
"""Formats that are found where images should be, archives first."""
_ERROR_PAGES = {
    "HTML or XML": re.compile(rb"<[a-zA-Z!?]"),
    "JSON": re.compile(rb"\{\s*[\"}]|\[\s*(?:[\"\[{\]]|-?\d|(?:true|false|null)\b)"),
}
"""First bytes, after white space, of what a server sends in place of a file; an INI file begins with a bracket, too."""


def rejection(beginning: bytes) -> FileRejectedError:
    """Return the rejection of a file that is neither DICOM, PNG nor JPEG.

    Args:
        beginning: Its first ``BEGINNING`` bytes.
    """
    content = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = "text" if content.isascii() and b"\0" not in content else "binary data"
    for known in _KINDS:
        if beginning.startswith(known.mark, known.offset):
            return _unknown_format(f"{known.name} by its first bytes", known.action)
    for name, start in _ERROR_PAGES.items():
        if start.match(content):
            return _unknown_format(f"{kind} without a DICOM prefix, {name} by its first bytes", FETCH_AGAIN)
    return _unknown_format(f"{kind} without a DICOM prefix", _LEAVE_OUT)


def _unknown_format(found: str, action: str) -> FileRejectedError:
    return FileRejectedError(Reason.UNKNOWN_FORMAT, "header", found, "a DICOM, PNG or JPEG file", action)
