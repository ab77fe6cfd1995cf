"""Locks between processes: a second job on the same directory is refused and told who works there.

The lock is the kernel's (``flock``), so that it goes with its owner however that ends, also between machines on NFS
and on parallel file systems that are mounted with locks. What the file says is only for people.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError

WAIT_S = 10.0
"""How long a lock is asked for: the processes of a job that was just killed may take seconds to go."""
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def hold(path: Path, what: str, *, job: str = "", wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of ``path`` while the block runs; the file is there only while somebody holds it.

    On a file system without locks the block runs all the same, with a warning.

    Args:
        path: The lock's file; its directory is made when it is missing.
        what: What the lock protects, for messages.
        job: Name of the batch system's job that this process belongs to, for the message that others get.
        wait_s: Seconds to wait for another holder to go.

    Raises:
        UserError: When another process keeps it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    while (descriptor := _take(path, job)) is None:
        if time.monotonic() > deadline:
            raise UserError(
                f"another job works on {what} ({_owner(path)})",
                "one job at a time",
                "wait for it or stop it, or give another --run",
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        # Unlinked while it is held: whoever waits for it sees that the name is another file's, and asks again.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path, job: str) -> int | None:
    """Return the descriptor of the lock that this process now holds, None while another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            log.warning("%s: this file system has no locks; nothing stops a second job from working here", path.parent)
            return descriptor
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    if not _is_named(descriptor, path):
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _describe(job).encode(), 0)
    return descriptor


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one with that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _describe(job: str) -> str:
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()}{f', {job}' if job else ''}, since {started}"


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "unknown"
    except OSError:
        return "unknown"
