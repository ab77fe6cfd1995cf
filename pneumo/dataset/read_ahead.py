"""Files that the system reads while an earlier one is decoded, so that neither the disk nor the processor waits."""

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pneumo.dicom.opening import Location

AHEAD = 16
"""Files that are asked for beyond the one that is worked on: many for a disk, and little memory of the system's."""
_STACK_BYTES = 1 << 18
"""Of the thread that asks, since it counts against the memory that a file may take."""


@contextmanager
def reading_ahead(locations: Sequence[Location], first_bytes: int = 0) -> Iterator[Callable[[], None]]:
    """Ask the system, in a thread, to read the next of some files; yield what is to be called before each.

    Nothing is read into this process: the memory of a file's limit is that file's alone. Nor is anything waited for: a
    disk that hangs is met, and blamed, when its file is read.

    Args:
        locations: The files, in the order in which they are read; members of archives are left to the archive.
        first_bytes: How many of each are needed; 0, all of them.
    """
    places, is_over = threading.Semaphore(AHEAD), threading.Event()

    def ask() -> None:
        for location in locations:
            places.acquire()
            if is_over.is_set():
                return
            if isinstance(location, Path):
                _ask_for(location, first_bytes)

    if hasattr(os, "posix_fadvise"):  # macOS has none
        _start(ask)
    try:
        yield places.release
    finally:
        is_over.set()
        places.release()


def _start(ask: Callable[[], None]) -> None:
    before = threading.stack_size(_STACK_BYTES)
    try:
        # Not waited for at the end of the process: an open of a lost disk never returns.
        threading.Thread(target=ask, daemon=True, name="read-ahead").start()
    except RuntimeError:
        pass  # no memory for a thread: files are read when they are needed
    finally:
        threading.stack_size(before)


def _ask_for(path: Path, first_bytes: int) -> None:
    # Whatever is wrong with the file, its reader finds.
    with contextlib.suppress(OSError):
        # Opening a FIFO waits for a writer, and opening some devices has effects.
        if stat.S_ISREG(path.stat().st_mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, first_bytes, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)
