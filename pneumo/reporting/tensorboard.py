"""TensorBoard curves of a fold, written by one rank; after a resume they go on without a doubled stretch.

Points are written as they come: tensorboard's own writer keeps them in a thread for two minutes, which loses them when
the process is killed, and which ends training with a thread's traceback when the disk is full.
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

    Curves are never worth a run: when they cannot be written, that is said once, and training goes on without them.

    Args:
        folder: The fold's directory; its event files lie in it.
        step: Optimiser steps already done; later points of an earlier try are hidden.
        enabled: False on ranks that do not write.
    """

    def __init__(self, folder: Path, step: int, *, enabled: bool) -> None:
        self._folder, self._records = folder, None
        if enabled:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{step}"
                # Unbuffered: a point is in the file, or its error is here.
                self._records = RecordWriter((folder / name).open("ab", buffering=0))
            except OSError as error:
                self._give_up(error)
        self._write(Event(file_version="brain.Event:2"))
        # The mark is a no-op on a fresh log directory.
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: dict[str, float]) -> None:
        """Add a point at ``step`` to each named curve; names without a group go under ``run/``."""
        named = {name if "/" in name else f"run/{name}": value for name, value in values.items()}
        points = [Summary.Value(tag=name, simple_value=value) for name, value in named.items()]
        self._write(Event(step=step, summary=Summary(value=points)))

    def _write(self, event: Event) -> None:
        if self._records is not None:
            event.wall_time = time.time()
            try:
                self._records.write(event.SerializeToString())
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._records = None
        log.warning("no more curves are written in %s: %s", self._folder, error.strerror)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._records is not None:
            self._records.close()
