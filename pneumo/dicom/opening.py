"""Open a path that may be anything: only regular files are opened."""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pneumo.dicom.rejection import FETCH_AGAIN, FileRejectedError, Reason

UNLISTED_DIRECTORY = "a directory that cannot be listed"
_SPECIAL = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; errors of the operating system, when reading it too, become rejections.

    Only regular files are opened: a FIFO waits for a writer, and opening some devices has effects.

    Raises:
        FileRejectedError: When the path is not a readable regular file with at least one byte.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            expected, action = "one that can be listed", "check its permissions, since the files in it are not counted"
            raise FileRejectedError(Reason.UNREADABLE, "open", UNLISTED_DIRECTORY, expected, action)
        if not stat.S_ISREG(mode):
            found = _SPECIAL.get(stat.S_IFMT(mode), "a special file")
            raise FileRejectedError(Reason.NOT_A_FILE, "open", found, "a regular file", "leave it out")
        with path.open("rb") as file:
            if not file.peek(1):
                raise FileRejectedError(Reason.EMPTY_FILE, "open", "no bytes", "an image file", FETCH_AGAIN)
            yield file
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            found, action = "a dangling link", "fetch the file that it links to, or remove it"
            raise FileRejectedError(Reason.NOT_A_FILE, "open", found, "a file", action) from None
        raise unreadable(error) from None


def unreadable(error: OSError) -> FileRejectedError:
    """Return the rejection of a file that the operating system does not read."""
    found = error.strerror or type(error).__name__
    action = "check its permissions, the disk and the mount, and start the same command again"
    return FileRejectedError(Reason.UNREADABLE, "open", found, "a readable file", action)
