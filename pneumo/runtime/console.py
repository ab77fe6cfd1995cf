"""What a command prints while it works: log lines, and a progress bar on a terminal or progress lines elsewhere.

``--quiet`` leaves warnings and errors, ``--verbose`` adds details; a log file (``pneumo.runtime.log_file``) has all of
it whatever is printed.
"""

import contextlib
import errno
import logging
import os
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from pneumo.runtime.errors import escape_control_characters

log = logging.getLogger("pneumo")

FILE_ONLY = {"file_only": True}
"""The ``extra`` of a record for the log file alone."""
LINE_INTERVAL_S = 10.0
"""Seconds between two progress lines when the output is not a terminal."""


class _StderrHandler(logging.Handler):
    """Writes to standard error, above a progress bar if there is one; control characters of file names are escaped.

    A line that cannot be written is lost, and no reason to end the work: a terminal was closed, a pipe's reader has
    ended, the log has filled the disk.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        lines = self.format(record).split("\n")
        try:
            tqdm.write("\n".join(map(escape_control_characters, lines)), file=sys.stderr)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EPIPE):
                _discard_stderr()


def _discard_stderr() -> None:
    """Send standard error to nowhere; else what its buffer holds would change the exit code when the process ends."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


_stderr = _StderrHandler(logging.INFO)


def set_up_logging(label: str = "") -> None:
    """Send the package's log to standard error, each line with the time and an optional label such as a rank."""
    prefix = f"[{label}] " if label else ""
    _stderr.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(levelname)s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [_stderr, *(handler for handler in log.handlers if handler is not _stderr)]
    # Each handler has its own level.
    log.setLevel(logging.DEBUG)
    log.propagate = False


def set_level(level: int) -> None:
    """Print records from this level on: ``logging.DEBUG``, ``INFO`` or ``WARNING``, which shows no progress either."""
    _stderr.setLevel(level)


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it: 0:09, 12:30, 3:05:00, or 2 days, 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours or days else f"{minutes}:{rest:02}"
    return f"{days} day{'s' if days > 1 else ''}, {clock}" if days else clock


def format_duration(seconds: float) -> str:
    """Return a duration with its units, for where nothing beside it says what it is: 9 s, 12 min 30 s, 3 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_size(count: int) -> str:
    """Return a number of bytes as people read it: 870 kB, 1.4 MB, 3.2 GB."""
    if count < 1e9:
        return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
    return f"{count / 1e9:.1f} GB"


def format_rate(rate: float, unit: str = "") -> str:
    """Return a rate as people read it: 12.3/s, 12.3 images/s, or 37 s each where one takes more than a second.

    Args:
        rate: Units per second, above 0.
        unit: Their name.
    """
    if rate >= 1:
        return f"{rate:.1f}{unit and f' {unit}'}/s"
    return f"{1 / rate:.{1 if rate > 0.1 else 0}f} s each"


class Progress:
    """A progress bar on a terminal, a log line every few seconds elsewhere, nothing when disabled or ``--quiet``.

    Args:
        what: What is being done, for example ``"shard"``.
        total: Number of steps.
        done: Steps that were already done before this process began.
        unit: Name of one step.
        enabled: False on every rank but the one that logs.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, unit: str = "it", enabled: bool = True) -> None:
        # Nothing to do is nothing to show.
        enabled = enabled and done < total
        self.what, self.total, self.done, self.unit, self.enabled = what, total, done, unit, enabled
        self._first: tuple[float, int] | None = None
        """When the first step was done, and how many then."""
        self._last_line = time.monotonic()
        is_bar = enabled and sys.stderr.isatty() and _stderr.level <= logging.INFO
        self._bar = tqdm(total=total, initial=done, desc=what, unit=f" {unit}", dynamic_ncols=True) if is_bar else None

    def step(self, count: int = 1, note: str = "") -> None:
        """Add ``count`` steps to those done and show ``note`` beside them."""
        self.done += count
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        now = time.monotonic()
        if self.enabled and now - self._last_line >= LINE_INTERVAL_S:
            self._last_line = now
            values = (self.what, self.done, self.total, self.unit, self._outlook(now), f", {note}" if note else "")
            log.info("%s: %d of %d %s%s%s", *values, extra=FILE_ONLY if self._bar is not None else None)
        if self._first is None and count:
            self._first = now, self.done

    def _outlook(self, now: float) -> str:
        """Return the rate and the time left; they are not known of the first step, which waits for what starts."""
        if self._first is None or self.done == self._first[1]:
            return ""
        rate = (self.done - self._first[1]) / max(now - self._first[0], 1e-9)
        return f" ({format_rate(rate)}, {format_seconds((self.total - self.done) / rate)} left)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
