"""Locks between processes: a second process on the same directory waits, or gets an error that names the first.

The lock is the kernel's (``flock``), so that it is released when its owner ends in any way, also between machines on
NFS and on parallel file systems that are mounted with locks. The file's content is for messages only.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError

WAIT_S = 10.0
"""Seconds to wait for a lock: processes that were just killed may take seconds to end."""
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_OWNER = b"process"
"""What the text in a lock begins with."""
_warned: set[int] = set()
"""File systems without locks that the log has named: a command may hold several locks on one, some in scratch."""


@contextmanager
def hold(
    path: Path,
    what: str,
    *,
    job: str = "",
    wait_s: float = WAIT_S,
    waiting: Callable[[str], object] = lambda owner: None,
) -> Iterator[None]:
    """Hold the lock of ``path`` while the block runs; the file exists only while a process holds it.

    On a file system without locks the block runs anyway, with a warning at the first lock of the process there.

    Args:
        path: The lock's file; its directory is made when it is missing.
        what: What the lock protects, for messages.
        job: Name of the batch job that this process belongs to, for the message that other processes get.
        wait_s: Seconds to wait for another holder; infinity waits until it ends.
        waiting: Called many times a second while another process holds it, with what is known of that process.

    Raises:
        UserError: When another process still holds it.
    """
    deadline = time.monotonic() + wait_s
    while (descriptor := _try_lock(path, job)) is None:
        if time.monotonic() > deadline:
            raise UserError(
                f"another process works on {what} ({_read_owner(path)})",
                "one at a time",
                "wait for it or stop it, or give another directory",
            )
        waiting(_read_owner(path))
        time.sleep(0.1)
    try:
        yield
    finally:
        # Unlinked while it is held: a waiting process sees that its open file has no name, and tries again.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock of ``path`` now; never so on a file system without locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
    return False


def is_left_behind(path: Path) -> bool:
    """Return whether a process that was killed left the lock's file where this one can remove it."""
    return path.exists() and os.access(path.parent, os.W_OK) and not is_held(path)


def _try_lock(path: Path, job: str) -> int | None:
    """Return the descriptor of the lock that this process now holds, None while another has it."""
    descriptor = _open(path)
    if descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            _warn_once(os.fstat(descriptor).st_dev, path.parent)
            return descriptor
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    if not _is_named(descriptor, path):
        os.close(descriptor)
        return None
    if (written := os.pread(descriptor, len(_OWNER), 0)) and written != _OWNER:
        os.close(descriptor)
        raise _foreign(path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _describe(job).encode(), 0)
    except OSError as error:
        # On a full disk; errors of descriptors name no file.
        path.unlink(missing_ok=True)
        os.close(descriptor)
        error.filename = str(path)
        raise
    return descriptor


def _open(path: Path) -> int | None:
    """Return a descriptor of the lock's file, None while another holder removes its directory."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} cannot be created", "a place where directories can be created", "give another path"
        ) from None
    except FileExistsError:
        # Another holder may have removed the directory after mkdir found it, and before it was seen to be a directory.
        # A link that leads nowhere would otherwise be waited for without end.
        if path.parent.is_file() or path.parent.is_symlink():
            raise
        return None
    try:
        # Not through a link: what it leads to is nobody's lock.
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError:
        # Another holder has just removed the directory together with its lock.
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _foreign(path) from None


def _foreign(path: Path) -> UserError:
    return UserError(f"{path} is no lock", "the lock of another process, or no file", "move it to another directory")


def _warn_once(file_system: int, directory: Path) -> None:
    if file_system not in _warned:
        _warned.add(file_system)
        log.warning("%s: this file system has no locks; nothing stops a second process from working here", directory)


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether the open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _describe(job: str) -> str:
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{_OWNER.decode()} {os.getpid()} on {socket.gethostname()}{f', {job}' if job else ''}, since {started}"


def _read_owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "unknown"
    except OSError:
        return "unknown"
