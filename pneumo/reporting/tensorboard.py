"""TensorBoard events of a fold, written by one rank; a resume hides the points that it writes again.

Each point is written to disk at once: tensorboard's own writer keeps points in a thread for two minutes, which loses
them when the process is killed, and ends training with the thread's traceback when the disk is full.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from pneumo.runtime.console import log


class FoldEvents:
    """Curves, pictures and texts of one fold.

    Training does not depend on them: when they cannot be written, one warning is logged and training continues.

    Args:
        directory: The fold's directory, where the event files go.
        hide_from: Step from which what an earlier start has written is hidden, because it is written again.
        enabled: False on ranks that do not write.
    """

    def __init__(self, directory: Path, hide_from: int, *, enabled: bool) -> None:
        self._directory, self._records = directory, None
        if enabled:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                # The files are read in the order of their names: microseconds, as a start may follow within a second.
                name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}.{hide_from}"
                # Unbuffered: a point is in the file, or its error is raised here.
                self._records = RecordWriter((directory / name).open("ab", buffering=0))
            except OSError as error:
                self._disable(error)
        self._write(Event(file_version="brain.Event:2"))
        # In a new directory this event hides nothing.
        self._write(Event(step=hide_from, session_log=SessionLog(status=SessionLog.START)))

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point at ``step`` to each named curve."""
        self.add(step, Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()]))

    def add(self, step: int, summary: Summary) -> None:
        """Add what ``summaries`` makes: a picture, a text, a curve."""
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        if self._records is not None:
            event.wall_time = time.time()
            try:
                self._records.write(event.SerializeToString())
            except OSError as error:
                self._disable(error)

    def _disable(self, error: OSError) -> None:
        self._records = None
        log.warning("TensorBoard events in %s are disabled: %s", self._directory, error.strerror)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._records is not None:
            self._records.close()
