"""Copy shards, several at a time, and compare each with the table before it gets its name.

A read of a file system that does not answer cannot be interrupted, and would keep a process that is asked to stop until
its launcher kills it. So the threads are daemons, which are left behind: what they have begun is a temporary file
without an index, which the next copy removes.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from pneumo.dataset import paths
from pneumo.dataset.origin import PIECE, Origin
from pneumo.dataset.table import SampleTable
from pneumo.dataset.verify import WHOLE_SHARD, ExpectedShard, Issue
from pneumo.runtime.console import Progress
from pneumo.runtime.files import publish, publish_text

AT_ONCE = 8
"""Shards that are copied at the same time: a network file system or an object store answers a single reader slowly."""
ATTEMPTS = 2
"""Reads of a shard until it counts as damaged where it is copied from, and not on the way."""
_MB = 10**6
_LOOK_S = 0.5
"""Seconds between two looks at what was copied."""
_GRACE_S = 2.0
"""Seconds for the threads to remove their temporary files after an error, or when the process is asked to stop."""


class _MissingError(Exception):
    """The dataset has no such file."""


class _StoppedError(Exception):
    """Another thread has failed, or the process is asked to stop."""


def copy(
    origin: Origin,
    dataset: Path,
    table: SampleTable,
    shards: Sequence[tuple[str, list[int]]],
    size: int,
    tick: Callable[[str], object],
) -> list[Issue]:
    """Copy shards into a dataset's directory, and return what is damaged in those that are kept without an index.

    Args:
        origin: Where the dataset is.
        dataset: The directory of the copy.
        table: The dataset's table.
        shards: Names of the tars, each with the rows of its samples.
        size: Their bytes.
        tick: Called with what is being done whenever bytes have come.

    Raises:
        OriginLostError: When the dataset cannot be read; shards that are not there count as damaged.
        OSError: When the copy cannot be written.
    """
    copier = _Copier(origin, dataset, table, shards)
    issues: list[Issue] = []
    with Progress("copy", -(-size // _MB), unit="MB") as progress, copier:
        left, shown = len(shards), 0
        while left:
            done = None
            with suppress(queue.Empty):
                done = copier.done.get(timeout=_LOOK_S)
            if isinstance(done, BaseException):
                raise done
            if done is not None:
                left -= 1
                issues += done
            megabytes = copier.copied // _MB
            if done is not None or megabytes > shown:
                tick("copying the dataset")
            progress.step(megabytes - shown)
            shown = megabytes
    return issues


class _Copier:
    """The threads, and what they share; the end of the ``with`` block stops them."""

    def __init__(
        self, origin: Origin, dataset: Path, table: SampleTable, shards: Sequence[tuple[str, list[int]]]
    ) -> None:
        self._origin, self._dataset, self._table = origin, dataset, table
        self._left = iter(shards)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"copy-{number}", daemon=True)
            for number in range(min(AT_ONCE, len(shards)))
        ]
        self.copied = 0
        """Bytes."""
        self.done: queue.SimpleQueue[list[Issue] | BaseException] = queue.SimpleQueue()
        """The issues of each shard that was copied, or why it was not."""

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        deadline = time.monotonic() + _GRACE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        try:
            while (shard := self._next()) is not None:
                self.done.put(self._copy(*shard))
        except BaseException as error:  # raised where the shards are waited for
            self.done.put(error)

    def _next(self) -> tuple[str, list[int]] | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._left, None)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError

    def _copy(self, name: str, rows: Sequence[int]) -> list[Issue]:
        """Copy a shard; write its index unless it has issues, which are returned."""
        expected = ExpectedShard(self._table, name, rows)
        tar = paths.shards(self._dataset) / name
        # One that a cleaner left without its tar would speak for a damaged one.
        tar.with_suffix(".idx").unlink(missing_ok=True)
        try:
            with publish(tar) as file:
                for _ in range(ATTEMPTS):
                    self._read(name, file, expected.size)
                    if not (issues := expected.issues(file.fileno())):
                        break
                # Another process may copy by now, which also replaces and removes files here.
                self._go_on()
        except _MissingError:
            return [Issue(name, WHOLE_SHARD, "there is no such file")]
        if not issues:
            publish_text(tar.with_suffix(".idx"), expected.index)
        return issues

    def _read(self, name: str, file: IO[bytes], size: int) -> None:
        """Write a shard's bytes into a file, instead of those that it has; of one that is too long, a few too many."""
        file.seek(0)
        file.truncate()
        with ExitStack() as opened:
            try:
                source = opened.enter_context(self._origin.open(f"{paths.SHARDS}/{name}"))
            except FileNotFoundError as error:
                raise _MissingError from error
            while (left := size + 1 - file.tell()) > 0 and (piece := source.read(min(left, PIECE))):
                self._go_on()
                file.write(piece)
                with self._lock:
                    self.copied += len(piece)
        file.flush()
