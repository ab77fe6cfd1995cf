"""Copy shards, several at a time, and compare each with the table before it gets its name."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
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
    copier = _Copier(origin, dataset, table)
    issues: list[Issue] = []
    with Progress("copy", -(-size // _MB), unit="MB") as progress, ThreadPoolExecutor(AT_ONCE, "copy") as pool:
        left = {pool.submit(copier.copy, name, rows) for name, rows in shards}
        shown = 0
        try:
            while left:
                done, left = wait(left, _LOOK_S, FIRST_COMPLETED)
                for one in done:
                    issues += one.result()
                megabytes = copier.copied // _MB
                if done or megabytes > shown:
                    tick("copying the dataset")
                progress.step(megabytes - shown)
                shown = megabytes
        except BaseException:
            copier.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    return issues


class _Copier:
    """What the threads share."""

    def __init__(self, origin: Origin, dataset: Path, table: SampleTable) -> None:
        self._origin, self._dataset, self._table = origin, dataset, table
        self.stopped = threading.Event()
        self.copied = 0
        """Bytes."""
        self._lock = threading.Lock()

    def copy(self, name: str, rows: Sequence[int]) -> list[Issue]:
        """Copy a shard; write its index unless it has issues, which are returned."""
        if self.stopped.is_set():
            return []
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
                if self.stopped.is_set():
                    raise _StoppedError
                file.write(piece)
                with self._lock:
                    self.copied += len(piece)
        file.flush()
