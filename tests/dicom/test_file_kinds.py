"""What files that are no images seem to be: real archives and pictures, made by the programs' own libraries."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pneumo.dicom import file_kinds
from pneumo.dicom.rejection import Reason


def zipped() -> bytes:
    with zipfile.ZipFile(target := io.BytesIO(), "w") as archive:
        archive.writestr("a.dcm", b"x")
    return target.getvalue()


def tarred() -> bytes:
    with tarfile.open(fileobj=(target := io.BytesIO()), mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.dcm"))
    return target.getvalue()


def picture(name: str) -> Callable[[], bytes]:
    def write() -> bytes:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(target := io.BytesIO(), name)
        return target.getvalue()

    return write


UNPACK, SAVE, FETCH, LEAVE = "unpack it", "save it as a grayscale PNG", "fetch the file again", "leave it out"
FILES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "zip": (zipped, "a zip archive", UNPACK),
    "gzip": (lambda: gzip.compress(b"x"), "a gzip archive", UNPACK),
    "bzip2": (lambda: bz2.compress(b"x"), "a bzip2 archive", UNPACK),
    "xz": (lambda: lzma.compress(b"x"), "an xz archive", UNPACK),
    "tar": (tarred, "a tar archive", UNPACK),
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99), "a 7z archive", UNPACK),
    "rar": (lambda: b"Rar!\x1a\x07\1\0" + bytes(99), "a rar archive", UNPACK),
    "zstd": (lambda: b"\x28\xb5\x2f\xfd" + bytes(99), "a zstd archive", UNPACK),
    "tiff": (picture("TIFF"), "a TIFF", SAVE),
    "gif": (picture("GIF"), "a GIF", SAVE),
    "bmp": (picture("BMP"), "a BMP", SAVE),
    "webp": (picture("WEBP"), "a WebP", SAVE),
    "jpeg 2000": (picture("JPEG2000"), "a JPEG 2000", SAVE),
    "pdf": (lambda: b"%PDF-1.7\n", "a PDF", LEAVE),
    "empty zip": (lambda: b"PK\x05\x06" + bytes(18), "an empty zip archive", LEAVE),
    "._1.dcm": (lambda: b"\0\5\x16\7\0\2\0\0Mac OS X", "what macOS keeps beside a file (AppleDouble)", LEAVE),
    ".DS_Store": (lambda: b"\0\0\0\1Bud1\0\0\x10\0", "a .DS_Store of macOS", LEAVE),
    "Thumbs.db": (lambda: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(99), "a Thumbs.db or another OLE file", LEAVE),
    "web page": (lambda: b"\xef\xbb\xbf \n<!DOCTYPE html>", "text without a DICOM prefix, HTML or XML", FETCH),
    "rate limit": (lambda: b'{"code": 429}', "text without a DICOM prefix, JSON", FETCH),
    "list": (lambda: b"[\r\n  {}]", "text without a DICOM prefix, JSON", FETCH),
    "desktop.ini": (lambda: b"[.ShellClassInfo]\r\nIconIndex=0", "text without a DICOM prefix", LEAVE),
    "rich text": (lambda: b"{\\rtf1\\ansi ward 3}", "text without a DICOM prefix", LEAVE),
    "notes": (lambda: b"of no interest", "text without a DICOM prefix", LEAVE),
    "zeros": (lambda: bytes(600), "binary data without a DICOM prefix", LEAVE),
    "nothing": (lambda: b"", "text without a DICOM prefix", LEAVE),
}


@pytest.mark.parametrize(("write", "found", "action"), FILES.values(), ids=FILES)
def test_a_file_is_named_by_its_content_with_what_to_do(write: Callable[[], bytes], found: str, action: str) -> None:
    rejection = file_kinds.rejection(write()[: file_kinds.BEGINNING])
    assert rejection.reason == Reason.UNKNOWN_FORMAT
    assert rejection.found in (found, f"{found} by its first bytes")
    assert rejection.expected == "a DICOM, PNG or JPEG file"
    assert rejection.action.startswith(action)
