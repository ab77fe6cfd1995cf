"""What a command prints while it works: log lines, and a progress bar on a terminal or progress lines elsewhere."""

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

LINE_INTERVAL_S = 10.0
"""Seconds between two progress lines when the output is not a terminal."""


class _StderrHandler(logging.Handler):
    """Writes to standard error, above a progress bar if there is one; control characters of file names are escaped.

    A line that cannot be written is lost, and no reason to end the work: a terminal was closed, a pipe's reader has
    ended, the log has filled the disk.
    """

    def emit(self, record: logging.LogRecord) -> None:
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


def set_up_logging(label: str = "") -> None:
    """Send the package's log to standard error, each line with the time and an optional label such as a rank."""
    handler = _StderrHandler()
    prefix = f"[{label}] " if label else ""
    handler.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(levelname)s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class Progress:
    """A progress bar on a terminal, a log line every few seconds elsewhere, nothing when disabled.

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
        self._start, self._first = time.monotonic(), done
        self._last_line = self._start
        self._bar = (
            tqdm(total=total, initial=done, desc=what, unit=unit, dynamic_ncols=True)
            if enabled and total and sys.stderr.isatty()
            else None
        )

    def step(self, count: int = 1, note: str = "") -> None:
        """Add ``count`` steps to those done and show ``note`` beside them."""
        self.done += count
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif self.enabled:
            now = time.monotonic()
            if now - self._last_line >= LINE_INTERVAL_S:
                self._last_line = now
                rate = (self.done - self._first) / max(now - self._start, 1e-9)
                tail = f", {note}" if note else ""
                log.info("%s: %d of %d %s (%.1f/s)%s", self.what, self.done, self.total, self.unit, rate, tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
