"""Errors that the user can fix, and the exit codes that launchers act on."""

import errno
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; Slurm scripts and Kubernetes' podFailurePolicy act on them."""

    DONE = 0
    """Everything asked for was done."""
    BUG = 1
    """An unexpected failure, with a traceback."""
    USER = 2
    """The user's input or configuration is wrong; starting again without a change will not help."""
    REQUEUE = 3
    """Stopped on request with the state saved, or too early; start the same command again to resume."""


MAX_PART_LENGTH = 2000
"""Characters of each part of a message; a CSV cell or a command-line argument may have millions."""


def escape_control_characters(text: str) -> str:
    """Return a file name or other string with line ends, control characters and bytes that are not UTF-8 escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    """Return a character's escape; Python's file names hold a byte that is not UTF-8 as a lone surrogate."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) & 0xFF:02x}"
    return ascii(character)[1:-1]


def first_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message, as part of a one-line message."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def _shorten(text: str) -> str:
    return (
        text if len(text) <= MAX_PART_LENGTH else f"{text[: MAX_PART_LENGTH // 2]} ... {text[-MAX_PART_LENGTH // 2 :]}"
    )


class UserError(Exception):
    """Something the user can fix: one line, exit code 2, no traceback.

    Args:
        found: What was found, naming the file, line or field.
        expected: What was expected.
        action: What to do about it.
    """

    def __init__(self, found: str, expected: str, action: str) -> None:
        # All three go to the base class: that is what an exception is pickled with, in a worker process for example.
        super().__init__(found, expected, action)
        self.found, self.expected, self.action = found, expected, action

    def __str__(self) -> str:
        """Return the message, one line."""
        found, expected, action = map(_shorten, (self.found, self.expected, self.action))
        return escape_control_characters(f"{found}; expected {expected}; {action}")


class StartAgain(BaseException):
    """Nothing is wrong and something is left to do: exit with ``ExitCode.REQUEUE``.

    No ``Exception``, as ``KeyboardInterrupt`` is none: a signal may raise it anywhere, also where every error in
    reading a file is taken for damage of the file.

    Args:
        message: What the command waits for, or what another process has changed.
    """


class StopRequested(StartAgain):
    """A signal asked to stop; the state is saved, or there is none that is not on disk."""


class RankLost(Exception):
    """Another rank of this group failed, was killed or no longer responds; the message has its rank and last state.

    Args:
        message: Which rank, and why.
        code: The exit code of that rank, with which this process exits too.
    """

    def __init__(self, message: str, code: int = ExitCode.BUG) -> None:
        self.code = int(code)
        super().__init__(message)


RECOVERABLE_ERRNOS = {
    errno.ENOSPC: ("free space", "delete files, or use a larger disk"),
    errno.EDQUOT: ("free space under the quota", "delete files, or ask for a larger quota"),
    errno.EFBIG: ("a file size that the system allows", "raise the limit (ulimit -f)"),
    errno.EROFS: ("a writable file system", "mount it writable again, or use another"),
    errno.EACCES: ("permission", "change the permissions, or use another path"),
    errno.EPERM: ("permission", "change the permissions, or use another path"),
    errno.EISDIR: ("a file", "use another path"),
    errno.ENAMETOOLONG: ("a path that the system allows", "use a shorter path"),
    errno.ELOOP: ("a path without a loop of symbolic links", "fix the links"),
    errno.ENOTDIR: ("a directory", "use another path"),
    errno.EEXIST: ("a path that does not exist yet", "use another path"),
    errno.ESTALE: ("a mounted file system", "mount it again"),
    errno.ENOTCONN: ("a mounted file system", "mount it again"),
    errno.ENODEV: ("a mounted file system", "mount it again"),
    errno.EIO: ("a working disk", "check the disk or the mount"),
    errno.EMFILE: ("fewer open files", "raise the limit (ulimit -n)"),
}
"""Error numbers of the operating system about a path that the user gave: what was expected, and what to do."""


def as_user_error(error: BaseException) -> UserError | None:
    """Return the error as one that the user can fix, or None when it is a bug.

    The user can fix errors of the operating system about space, permissions and mounts; they leave saved state as it
    is, so that the same command resumes afterwards.
    """
    if isinstance(error, UserError):
        return error
    if not isinstance(error, OSError) or error.errno not in RECOVERABLE_ERRNOS:
        return None
    expected, action = RECOVERABLE_ERRNOS[error.errno]
    named = f"{error.filename}: " if error.filename else ""
    return UserError(f"{named}{error.strerror}", expected, f"{action}, and start the same command again")


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with what it counts, ``1 file`` or ``3 files``, for messages.

    Args:
        number: How many.
        one: What follows 1, such as ``file is``.
        many: What follows other numbers, such as ``files are``; empty = ``one`` and an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def list_some(names: Iterable[str], most: int = 3) -> str:
    """Return the number of names and the first few of them, for messages."""
    listed = list(names)
    if not listed:
        return "none"
    more = ", ..." if len(listed) > most else ""
    return f"{len(listed)} ({', '.join(listed[:most])}{more})"
