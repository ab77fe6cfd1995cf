"""Processes that do the work, so that a decoder that crashes takes one file with it and not the build."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from pneumo.console import log
from pneumo.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


def run(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[tuple[int, R | None]]:
    """Apply a function to items in worker processes and yield (position, result) as they finish.

    A process that dies (a crash in native code, the kernel's memory killer) takes the pool with it. The items that
    may have been in work are then tried again one by one, each in a process of its own; the result of an item
    whose process dies again is None.

    Raises:
        UserError: When processes end before they are given anything to do.
    """
    pending = list(range(len(items)))
    while pending:
        for position, result in _until_broken(function, items, pending, workers):
            pending.remove(position)
            yield position, result
        # The pool keeps a few items beyond the workers' own under way, in the order given.
        suspects = pending[: 2 * workers + 1]
        if suspects:
            log.warning("a worker process died; trying %d pieces of work again one by one", len(suspects))
        for position in suspects:
            pending.remove(position)
            yield position, next((result for _, result in _until_broken(function, items, [position], 1)), None)


def _until_broken(
    function: Callable[[T], R], items: Sequence[T], positions: Sequence[int], workers: int
) -> Iterator[tuple[int, R]]:
    """Yield what finishes until everything is done or a worker dies."""
    with _pool(min(workers, len(positions))) as pool:
        _check_start(pool)
        try:
            futures: dict[Future[R], int] = {pool.submit(function, items[position]): position for position in positions}
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BrokenProcessPool:
            return


def _check_start(pool: ProcessPoolExecutor) -> None:
    """Make sure that a process lives long enough to answer, lest every file be blamed for a machine's trouble."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise UserError(
            "worker processes end as soon as they start",
            "a machine with memory for them, and a script that guards its main part by __name__",
            "see the messages above, or try fewer workers",
        ) from None


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Not fork: the parent may have threads (a progress bar's, a test's), and a forked copy of a held lock hangs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pneumo.dataset.unit"])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and die when the parent does: after kill -9 nobody else would end a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
