"""Writes a fold's checkpoints in a thread while training goes on."""

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from pneumo.runtime.console import log
from pneumo.runtime.errors import first_line
from pneumo.training import checkpoint
from pneumo.training.checkpoint import Snapshot
from pneumo.training.host_copy import HostCopy, layouts
from pneumo.training.run_directory import FoldDirectory


class CheckpointWriter:
    """At most one write is in flight; its error is raised in the thread that trains.

    Training pauses for a copy in host memory. A ``with`` block ends when no write is in flight any more.

    Args:
        directory: The fold's files.
        device: Where the network is.
    """

    def __init__(self, directory: FoldDirectory, device: torch.device) -> None:
        self._directory, self._memory = directory, HostCopy(device)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._write: Future[None] | None = None

    def reserve(self, snapshot: Snapshot) -> None:
        """Take the memory for such a snapshot in the thread, unless a write is in flight there."""
        if not self.is_busy:
            self.wait()
            layout = layouts([snapshot.weights, snapshot.optimizer])
            self._write = self._thread.submit(self._memory.reserve, layout)

    def begin(self, snapshot: Snapshot) -> None:
        """Copy a snapshot and start to write it, once the write before is complete.

        Raises:
            Exception: See ``wait``, of the write before.
        """
        self.wait()
        weights, optimizer = self._memory.take([snapshot.weights, snapshot.optimizer])
        copied = Snapshot(copy.deepcopy(snapshot.state), weights, optimizer)
        self._write = self._thread.submit(self._save, copied)

    @property
    def is_busy(self) -> bool:
        """Whether a write is in flight."""
        return self._write is not None and not self._write.done()

    def check(self) -> None:
        """Raise the error of a write that has ended; see ``wait``."""
        if not self.is_busy:
            self.wait()

    def wait(self) -> None:
        """Return once no write is in flight.

        Raises:
            UserError: When a value was not finite, or the run's directory is gone.
            OSError: When the checkpoint could not be written.
        """
        write, self._write = self._write, None
        if write is not None:
            write.result()

    def _save(self, snapshot: Snapshot) -> None:
        self._memory.wait()
        self._directory.require_run_directory()
        path = checkpoint.save(self._directory.checkpoints, snapshot)
        log.debug("fold %d: saved %s", snapshot.state.fold, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception as own:
            if error is None:
                raise
            # The first error is the one to report.
            log.warning("the last checkpoint could not be saved either: %s", first_line(own))
        finally:
            self._thread.shutdown()
