"""Members of zip archives, read where they are: nothing is unpacked to a disk, whatever ends the process.

A member is known by its place in the archive's directory. So its name, which may be anything, leads nowhere, and two
members may have the same. A member is read as a stream of at most as many bytes as the directory declares.

Of an archive that was cut off, the directory of an archive inside it may be the last one there is, and lists a few of
its files. So an archive must end with its directory, and begin with its first file; a program that unpacks itself has
its code before that.
"""

import io
import itertools
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from pneumo.dicom.rejection import FETCH_AGAIN, FileRejectedError, Reason

SUFFIX = ".zip"
"""Ending of the names of archives that are read. Many other files are zips by their bytes, such as those of Office."""
MAX_MEMBERS = 1_000_000
MAX_BYTES = 1 << 31
"""Of a member; more than the largest DICOM that can be read has."""
_FIRST_BYTES = (b"PK\x03\x04", b"PK\x05\x06")
_END = struct.Struct("<4s16xH")
"""The record at an archive's end, before a comment, whose length is its last number; all of an archive without files.

Source: APPNOTE.TXT 6.3.10, section 4.3.16.
"""
_UNPACK = "unpack it, and give the directory with the files that were in it"


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file in a zip archive."""

    archive: Path
    index: int
    """Its place in the archive's directory, from 0."""
    path: str
    """Its name there, for people."""

    @property
    def name(self) -> str:
        """The last part of its path; Windows' separator counts too."""
        return self.path.replace("\\", "/").rpartition("/")[2]


def is_archive(path: Path) -> bool:
    """Return whether a regular file is a zip archive by its name and its first or last bytes.

    One that unpacks itself begins as a program does. False where the file is unreadable.
    """
    if path.suffix.lower() != SUFFIX:
        return False
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) in _FIRST_BYTES or zipfile.is_zipfile(file)
    except OSError:
        return False
    except (zipfile.BadZipFile, struct.error):  # of a record at its end that is not what it should be
        return True


def list_members(archive: Path) -> list[ZipMember]:
    """List the files in an archive, in its order; directories are none.

    Raises:
        FileRejectedError: When its directory cannot be read, or lists no file, too many, or some that overlap; when it
            is not that of the whole file.
    """
    with _rejecting("the zip archive"):
        opened = _open_archive(archive, archive.stat().st_mtime_ns)
        found = opened.infolist()
        _check_is_whole(opened, archive)
    members = [
        ZipMember(archive, index, _decode(info))
        for index, info in enumerate(found)
        if not info.is_dir() and not info.filename.endswith("\\")
    ]
    size = archive.stat().st_size
    if not found and size > _END.size:
        listed = f"a zip archive of {size} bytes whose directory lists no files"
        raise _rejection(listed, "a directory of the files in it", f"with another program, {_UNPACK}")
    if not members:
        raise _rejection("a zip archive without files", "files in it", "leave it out, or fetch it again")
    if len(members) > MAX_MEMBERS:
        raise _rejection(f"a zip archive of {len(members)} files", f"at most {MAX_MEMBERS}", "divide it")
    if _overlap(found):
        raise _rejection("a zip archive whose files share bytes", "each file in bytes of its own", "leave it out")
    return members


def _check_is_whole(opened: zipfile.ZipFile, archive: Path) -> None:
    """Check that the directory that was found is that of the whole file, and not of an archive inside it."""
    end = _END.size + len(opened.comment)
    with archive.open("rb") as file:
        begins_with_a_member = file.read(4) in _FIRST_BYTES
        file.seek(-end, io.SEEK_END)
        ends = _END.unpack(file.read(_END.size)) == (b"PK\x05\x06", len(opened.comment))
    first = min((info.header_offset for info in opened.infolist()), default=0)
    if not ends or (begins_with_a_member and first != 0):
        found = f"a zip archive with bytes {'before its first file' if ends else 'behind its directory'}"
        action = f"{FETCH_AGAIN}: it may be cut off; or, with another program, {_UNPACK}"
        raise _rejection(found, "one that begins with its first file and ends with its directory", action)


def _overlap(found: list[zipfile.ZipInfo]) -> bool:
    """Return whether members share bytes: a bomb, of which a few bytes may be thousands of large files."""
    places = sorted((info.header_offset, info.compress_size) for info in found)
    return any(start + size >= following for (start, size), (following, _) in itertools.pairwise(places))


@contextmanager
def open_member(member: ZipMember) -> Iterator[io.BufferedReader]:
    """Open a member for reading.

    Raises:
        FileRejectedError: When it is no regular file, is encrypted or too large, or cannot be unpacked; also while it
            is read.
    """
    with _rejecting("the member of the zip archive"):
        archive = _open_archive(member.archive, member.archive.stat().st_mtime_ns)
        info = archive.infolist()[member.index]
    _check_is_regular(info.external_attr >> 16)
    if info.flag_bits & 1:
        action = "unpack it with its password, and give the directory with the files that were in it"
        raise _rejection("an encrypted member of a zip archive", "one without a password", action)
    if info.file_size > MAX_BYTES:
        found, expected = f"a member of {info.file_size} bytes in a zip archive", f"at most {MAX_BYTES}"
        raise FileRejectedError(Reason.TOO_MUCH_MEMORY, "open", found, expected, "leave it out, or unpack it")
    with _rejecting("the member of the zip archive"):
        stream = archive.open(info)
    file: io.BufferedReader = io.BufferedReader(_RejectingStream(stream), 1 << 16)
    with stream, file:
        yield file


def _check_is_regular(mode: int) -> None:
    """Check the mode that an archive gives a member; many give none, and directories are not listed."""
    if stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR):
        return
    found, action = ("a link", _UNPACK) if stat.S_ISLNK(mode) else ("a FIFO, a socket or a device", "leave it out")
    raise FileRejectedError(Reason.NOT_A_FILE, "open", f"{found} in a zip archive", "a regular file", action)


def state(member: ZipMember) -> tuple[int, int]:
    """Return a member's size in bytes, and the time of its archive's last modification in nanoseconds."""
    modified_ns = member.archive.stat().st_mtime_ns
    return _open_archive(member.archive, modified_ns).infolist()[member.index].file_size, modified_ns


@lru_cache(maxsize=4)
def _open_archive(archive: Path, modified_ns: int) -> zipfile.ZipFile:
    """Return an archive whose directory is read once; the time tells one that was replaced."""
    del modified_ns
    return zipfile.ZipFile(archive)


def _decode(info: zipfile.ZipInfo) -> str:
    """Return a member's name; without the flag of UTF-8 it is in code page 437, or in UTF-8 as macOS writes it."""
    try:
        return info.filename if info.flag_bits & 0x800 else info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


class _RejectingStream(io.RawIOBase):
    """A member's bytes; errors of unpacking become rejections wherever they are met."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _rejecting("the member of the zip archive"):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _rejecting("the member of the zip archive"):
            return self._stream.seek(offset, whence)


@contextmanager
def _rejecting(what: str) -> Iterator[None]:
    """Turn errors of unpacking into rejections; those of the operating system and of memory stay."""
    try:
        yield
    except (FileRejectedError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes zipfile and its decompressors raise errors of every kind
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, NotImplementedError):
            raise _rejection(f"{what} is compressed in a way that is not supported", "deflate", _UNPACK) from None
        if isinstance(error, UnicodeError):
            raise _rejection(f"{what} has a name that is not UTF-8, as it says", "names in UTF-8", _UNPACK) from None
        raise _rejection(f"{what} does not unpack", "a whole zip archive", FETCH_AGAIN) from None


def _rejection(found: str, expected: str, action: str) -> FileRejectedError:
    return FileRejectedError(Reason.BAD_ARCHIVE, "open", found, expected, action)
