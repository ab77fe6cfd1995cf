"""Open a file that may be anything: a path, of which only regular files are opened, or a member of a zip archive."""

import errno
import hashlib
import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumo.dicom import zip_archives
from pneumo.dicom.rejection import FETCH_AGAIN, FileRejectedError, Reason
from pneumo.dicom.zip_archives import ZipMember

Location = Path | ZipMember
"""Where a file is."""
UNLISTED_DIRECTORY = "a directory that cannot be listed"
_SPECIAL = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@contextmanager
def open_file(location: Location) -> Iterator[io.BufferedReader]:
    """Open a file for reading; errors of the operating system, when reading it too, become rejections.

    Only regular files are opened: a FIFO waits for a writer, and opening some devices has effects.

    Raises:
        FileRejectedError: When it is not a readable regular file with at least one byte.
    """
    if isinstance(location, ZipMember):
        with _open_member(location) as file:
            yield file
    else:
        with _open_path(location) as file:
            yield file


def state(location: Location) -> tuple[int, int]:
    """Return a file's size in bytes and the time of its last modification, a member's archive's, in nanoseconds.

    Raises:
        OSError: When the system does not tell.
    """
    if isinstance(location, ZipMember):
        return zip_archives.state(location)
    found = location.stat()
    return found.st_size, found.st_mtime_ns


def sha256(location: Location) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal.

    Raises:
        FileRejectedError: As ``open_file``.
    """
    with open_file(location) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_beginning(location: Location, whole: Location) -> bool:
    """Return whether the bytes of a file are the first ones of another.

    Raises:
        FileRejectedError: As ``open_file``, of one of the two.
    """
    with open_file(location) as start, open_file(whole) as file:
        while chunk := start.read(1 << 20):
            if file.read(len(chunk)) != chunk:
                return False
    return True


@contextmanager
def _open_member(member: ZipMember) -> Iterator[io.BufferedReader]:
    try:
        with zip_archives.open_member(member) as file:
            _check_not_empty(file)
            yield file
    except OSError as error:
        raise unreadable(error) from None


@contextmanager
def _open_path(path: Path) -> Iterator[io.BufferedReader]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            expected, action = "one that can be listed", "check its permissions, since the files in it are not counted"
            raise FileRejectedError(Reason.UNREADABLE, "open", UNLISTED_DIRECTORY, expected, action)
        if not stat.S_ISREG(mode):
            found = _SPECIAL.get(stat.S_IFMT(mode), "a special file")
            raise FileRejectedError(Reason.NOT_A_FILE, "open", found, "a regular file", "leave it out")
        with path.open("rb") as file:
            _check_not_empty(file)
            yield file
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            found, action = "a dangling link", "fetch the file that it links to, or remove it"
            raise FileRejectedError(Reason.NOT_A_FILE, "open", found, "a file", action) from None
        raise unreadable(error) from None


def _check_not_empty(file: io.BufferedReader) -> None:
    if not file.peek(1):
        raise FileRejectedError(Reason.EMPTY_FILE, "open", "no bytes", "an image file", FETCH_AGAIN)


def unreadable(error: OSError) -> FileRejectedError:
    """Return the rejection of a file that the operating system does not read."""
    found = error.strerror or type(error).__name__
    action = "check its permissions, the disk and the mount, and start the same command again"
    return FileRejectedError(Reason.UNREADABLE, "open", found, "a readable file", action)
