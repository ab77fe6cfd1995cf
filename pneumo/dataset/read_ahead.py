"""Files that the system reads while an earlier one is decoded, so that neither the disk nor the processor waits."""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from pneumo.dataset import limits
from pneumo.dicom.opening import Location

AHEAD = 16
"""Files that are asked for beyond the one that is worked on: many for a disk, and little memory of the system's."""


def read_ahead(locations: Sequence[Location], first_bytes: int = 0) -> Iterator[None]:
    """Yield before each of some files is read, when the system has been asked for the ones that come next.

    Nothing is read into this process, so that the memory of a file's limit is that file's alone. A disk that hangs ends
    the process when it meets the time limit; then the files are read one by one, which shows the one to blame.

    Without a thread: two that wait for the interpreter's lock took longer than asking does.

    Args:
        locations: The files, in the order in which they are read; members of archives are left to the archive.
        first_bytes: How many of each are needed; 0, all of them.
    """
    asked = iter(locations)
    for location in islice(asked, AHEAD):
        _ask_for(location, first_bytes)
    for _ in locations:
        if (following := next(asked, None)) is not None:
            _ask_for(following, first_bytes)
        yield


def _ask_for(location: Location, first_bytes: int) -> None:
    if isinstance(location, Path) and hasattr(os, "posix_fadvise"):  # macOS has none
        limits.timed(partial(_advise, first_bytes=first_bytes), location)


def _advise(path: Path, first_bytes: int) -> None:
    # Whatever is wrong with the file, its reader finds.
    with contextlib.suppress(OSError):
        # Opening a FIFO waits for a writer, and opening some devices has effects.
        if stat.S_ISREG(path.stat().st_mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, first_bytes, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)
