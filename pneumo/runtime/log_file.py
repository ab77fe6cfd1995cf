"""The log files of a directory: one for each process and start of a command, with all that could have been printed.

::

    DIRECTORY/logs/train-20261126T220340Z-node1-4711-rank-0.log

Whatever ``--quiet`` leaves out is in it, and what was logged before it was opened. It begins with the command and the
versions of what it runs on, and ends with the exit code; a process that was killed leaves it without. A log that cannot
be written is no reason to end the work.
"""

import logging
import os
import shlex
import socket
import sys
import time
from collections import deque
from pathlib import Path

from pneumo.runtime.console import FILE_ONLY, log
from pneumo.runtime.errors import escape_control_characters
from pneumo.runtime.versions import installed_versions

DIRECTORY = "logs"
MAX_EARLIER_RECORDS = 1000
"""Records kept until the log file is opened; a command logs a few before it knows its directory."""


class _Earlier(logging.Handler):
    """Keeps the first records, until there is a file for them."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: deque[logging.LogRecord] = deque(maxlen=MAX_EARLIER_RECORDS)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class _FileHandler(logging.FileHandler):
    """Writes each record at once, until the disk is full or the mount is gone, which costs a warning."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=False)
        formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self.has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if not self.has_failed:
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with control characters of file names escaped."""
        return "\n".join(map(escape_control_characters, super().format(record).split("\n")))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Stop writing; called where the exception is handled."""
        error = sys.exception()
        self.has_failed = True
        self.stream = None  # closing it would write its rest again, and fail again
        log.warning("the log %s ends here: %s", self.baseFilename, getattr(error, "strerror", None) or error)


_earlier = _Earlier()


def keep_records() -> None:
    """Keep what is logged for the file that is opened later."""
    if _earlier not in log.handlers:
        log.addHandler(_earlier)


def start(directory: Path, command: str, label: str = "", *, only_reads: bool = False) -> None:
    """Open the log file of this process in ``directory``/logs, and write to it what was logged until now.

    The second call in a process does nothing: a command has one log.

    Args:
        directory: Of the dataset, the run or the results; it exists.
        command: Name of the command, such as ``train``.
        label: What tells the processes of one start apart, such as ``rank-0``.
        only_reads: Whether the command writes nothing else there, so that no log is no reason for a warning: the
            directory may be of others, or on a read-only mount.
    """
    if any(isinstance(handler, _FileHandler) for handler in log.handlers):
        return
    began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{command}-{began}-{socket.gethostname()}-{os.getpid()}{f'-{label}' if label else ''}.log"
    try:
        (directory / DIRECTORY).mkdir(exist_ok=True)
        handler = _FileHandler(directory / DIRECTORY / name)
    except OSError as error:
        level = logging.DEBUG if only_reads else logging.WARNING
        log.log(level, "no log is kept in %s: %s", directory / DIRECTORY, error.strerror)
        return
    log.removeHandler(_earlier)
    for record in (_head(), *_earlier.records):
        handler.handle(record)
    _earlier.records.clear()
    log.addHandler(handler)


def _head() -> logging.LogRecord:
    """Return the record that a log begins with."""
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    text = f"{shlex.join(sys.argv)}\n  on {socket.gethostname()} with {versions}"
    return log.makeRecord(log.name, logging.INFO, __file__, 0, text, (), None, extra=FILE_ONLY)
