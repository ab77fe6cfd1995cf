"""What the user can mend, and the exit codes that launchers act on."""

import errno
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
    """Stopped on request with the state saved; start the same command again to go on."""


LONGEST_PART = 2000
"""Characters of each part of a message; a cell or a word of the command line may have millions."""


def escape_control_characters(text: str) -> str:
    """Return a text with line ends, other control characters and bytes that are not UTF-8 escaped, for file names."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    """Return a character's escape; Python's file names hold a byte that is not UTF-8 as a lone surrogate."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) & 0xFF:02x}"
    return ascii(character)[1:-1]


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_PART else f"{text[: LONGEST_PART // 2]} ... {text[-LONGEST_PART // 2 :]}"


class UserError(Exception):
    """Something the user can mend: one line, exit code 2, no traceback.

    Args:
        found: What was found, naming the file, line or field.
        expected: What would have been right.
        action: What to do about it.
    """

    def __init__(self, found: str, expected: str, action: str) -> None:
        self.found = found
        self.expected = expected
        self.action = action
        super().__init__(
            escape_control_characters(f"{_shorten(found)}; expected {_shorten(expected)}; {_shorten(action)}")
        )


class StopRequested(Exception):
    """All ranks agreed to stop; the state is saved and the process should exit with ``ExitCode.REQUEUE``."""


class RankLost(Exception):
    """Another rank of this group failed, was killed or no longer answers; the message names it and says what it said.

    Args:
        message: Which rank, and why.
        code: The exit code that rank ended with, which is this process's too.
    """

    def __init__(self, message: str, code: int = ExitCode.BUG) -> None:
        self.code = int(code)
        super().__init__(message)


RECOVERABLE_ERRNOS = {
    errno.ENOSPC: ("free space", "free some, or move it to a larger disk"),
    errno.EDQUOT: ("free space under the quota", "free some, or ask for a larger quota"),
    errno.EFBIG: ("a file size that the system allows", "raise the limit (ulimit -f)"),
    errno.EROFS: ("a file system that can be written", "mount it writable again, or use another"),
    errno.EACCES: ("permission", "change the permissions, or use another place"),
    errno.EPERM: ("permission", "change the permissions, or use another place"),
    errno.EISDIR: ("the name of a file", "use another path"),
    errno.ENAMETOOLONG: ("a path that the system allows", "use a shorter one"),
    errno.ELOOP: ("a path whose links come to an end", "mend the links"),
    errno.ENOTDIR: ("a directory", "use another path"),
    errno.EEXIST: ("a name that is free", "use another path"),
    errno.ESTALE: ("a mounted file system", "mount it again"),
    errno.ENOTCONN: ("a mounted file system", "mount it again"),
    errno.ENODEV: ("a mounted file system", "mount it again"),
    errno.EIO: ("a disk that works", "look at the disk or the mount"),
    errno.EMFILE: ("fewer open files", "raise the limit (ulimit -n)"),
}
"""What the operating system may say of a place that the user gave: what was expected, and what to do."""


def as_user_error(error: BaseException) -> UserError | None:
    """Return the error as one that the user can mend, or None when it is not.

    Errors of the operating system about space, permissions and mounts are the user's; the state that is already saved
    is not touched by them, so that the same command goes on once they are mended.
    """
    if isinstance(error, UserError):
        return error
    if not isinstance(error, OSError) or error.errno not in RECOVERABLE_ERRNOS:
        return None
    expected, action = RECOVERABLE_ERRNOS[error.errno]
    place = f"{error.filename}: " if error.filename else ""
    return UserError(f"{place}{error.strerror}", expected, f"{action}, and start the same command again")
