"""TensorBoard curves of a fold, written by one rank; a resume hides the points that it writes again.

Each point is written to disk at once: tensorboard's own writer keeps points in a thread for two minutes, which loses
them when the process is killed, and ends training with the thread's traceback when the disk is full.
"""

import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from pneumo.runtime.console import log


class FoldCurves:
    """Curves of one fold.

    Training does not depend on its curves: when they cannot be written, one warning is logged and training continues.

    Args:
        directory: The fold's directory, where the event files go.
        step: Optimizer steps already done; points after it, from before a resume, are hidden.
        enabled: False on ranks that do not write.
    """

    def __init__(self, directory: Path, step: int, *, enabled: bool) -> None:
        self._directory, self._records = directory, None
        if enabled:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{step}"
                # Unbuffered: a point is in the file, or its error is raised here.
                self._records = RecordWriter((directory / name).open("ab", buffering=0))
            except OSError as error:
                self._disable(error)
        self._write(Event(file_version="brain.Event:2"))
        # In a new directory this event hides nothing.
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: dict[str, float]) -> None:
        """Add a point at ``step`` to each named curve; names without a slash get the prefix ``run/``."""
        named = {name if "/" in name else f"run/{name}": value for name, value in values.items()}
        points = [Summary.Value(tag=name, simple_value=value) for name, value in named.items()]
        self._write(Event(step=step, summary=Summary(value=points)))

    def _write(self, event: Event) -> None:
        if self._records is not None:
            event.wall_time = time.time()
            try:
                self._records.write(event.SerializeToString())
            except OSError as error:
                self._disable(error)

    def _disable(self, error: OSError) -> None:
        self._records = None
        log.warning("TensorBoard curves in %s are disabled: %s", self._directory, error.strerror)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._records is not None:
            self._records.close()
