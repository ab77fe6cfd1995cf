"""A pool of processes, each under limits, so that a file that crashes or hangs a decoder ends only its reader.

A pool of the standard library ends as a whole when one of its processes dies, and reports neither the item nor the
exit code. pebble's ``ProcessPool`` (5.2) reports both, but treats a worker that dies before its "started" message is
read as one that cannot start: of 31 pools whose items killed their process at once, while other threads of the parent
were busy, 7 ended with "All workers expired". Here the parent itself records which item each process has.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from types import ModuleType
from typing import Any, Generic, TypeVar

from pneumo.dataset import limits as limits_of
from pneumo.dataset.limits import Limits
from pneumo.runtime.errors import UserError
from pneumo.runtime.safe_path import safe_path

T = TypeVar("T")
R = TypeVar("R")

MAX_FAILED_STARTS = 3
"""Times in a row that each process of a pool may die before it is sent an item."""


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """Returned instead of a result: the process that worked on the item died."""

    exit_code: int
    """As ``Process.exitcode``: the negative number of a signal, or the code."""


def run(
    function: Callable[[T], R], items: Sequence[T], workers: int, limits: Limits, *, max_attempts: int = 1
) -> Generator[tuple[int, R | WorkerDied], None, None]:
    """Apply a function to items in worker processes and yield (position, result) as they finish.

    Only the item of a process that dies is lost; another process takes its place.

    Args:
        function: Applied to each item; its exceptions are raised here.
        items: The items, started in this order.
        workers: Number of processes.
        limits: Time and memory that reading one file may take.
        max_attempts: Attempts at an item whose process dies; one that exceeds the time limit is not repeated.

    Raises:
        UserError: When process after process dies before it is sent an item.
    """
    waiting, attempts = deque(range(len(items))), Counter[int]()
    failed_starts = 0
    pool: dict[Connection, _Worker[T, R]] = {}
    try:
        while waiting or any(worker.position is not None for worker in pool.values()):
            while len(pool) < workers and sum(worker.position is None for worker in pool.values()) < len(waiting):
                worker = _Worker(function, limits)
                pool[worker.pipe] = worker
            for pipe in wait(list(pool)):
                assert isinstance(pipe, Connection)
                worker = pool[pipe]
                position, result = worker.position, worker.receive()
                failed_starts = failed_starts + 1 if position is None and isinstance(result, WorkerDied) else 0
                if failed_starts >= MAX_FAILED_STARTS * workers:
                    raise _cannot_start()
                if isinstance(result, WorkerDied):
                    pool.pop(pipe)
                    if position is None:
                        continue  # their server may have been killed, which all that start at the time die of
                    attempts[position] += 1
                    if attempts[position] < max_attempts and result.exit_code not in limits_of.TIMED_OUT:
                        waiting.append(position)
                        continue
                elif waiting:
                    following = waiting.popleft()
                    worker.send(following, items[following])
                else:
                    pool.pop(pipe).kill()
                if position is not None:
                    yield position, result
    finally:
        for worker in pool.values():
            worker.kill()


class _Worker(Generic[T, R]):
    """A process and the position of its current item; it sends None when it is ready for the first."""

    def __init__(self, function: Callable[[T], R], limits: Limits) -> None:
        self.position: int | None = None
        with worker_context() as context:
            self.pipe, child_end = context.Pipe()
            self.process = context.Process(target=_serve, args=(child_end, function, limits), daemon=True)
            self._start()
        # Now only the process has the other end, which closes when it dies.
        child_end.close()

    def _start(self) -> None:
        for pause in _PAUSES_S:
            time.sleep(pause)
            try:
                self.process.start()
                return
            except (ConnectionError, EOFError):
                continue  # the server was killed; only when it has ended, which takes a while, is it replaced
            except OSError as error:
                if "AF_UNIX path too long" not in str(error):
                    raise
                raise _long_temporary_path() from error
        raise _cannot_start()

    def send(self, position: int, item: T) -> None:
        """Send an item to the process."""
        self.position = position
        try:
            self.pipe.send(item)
        except OSError:
            # It has died; the next read of the pipe finds that.
            return

    def receive(self) -> R | WorkerDied:
        """Return the result, or how the process died; raise what the function raised."""
        self.position = None
        try:
            done, result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_EXIT_TIMEOUT_S)
            self.kill()
            return WorkerDied(self.process.exitcode or 0)
        if not done:
            raise result
        return result  # type: ignore[no-any-return]

    def kill(self) -> None:
        """Kill the process, whether it is working or not."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


_PAUSES_S = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds to wait before each attempt to start a process; more than one where its server was killed."""
_EXIT_TIMEOUT_S = 5.0
"""Seconds in which a process that has closed its pipe may exit; killed at once, its exit code would be the kill's."""


@contextmanager
def worker_context() -> Iterator[ForkServerContext]:
    """Yield the context to start processes with.

    Those that are started in the block import neither ``__main__`` nor anything from the current directory.
    """
    # Not fork: the parent may have threads (a progress bar's, a test's), and a forked copy of a locked lock hangs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pneumo.dataset.shard_writer"])
    # Without its file, __main__ is not imported again by the processes: job/predict.py's takes seconds, for torch.
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        with safe_path():
            yield context
    finally:
        sys.modules["__main__"] = main


def _long_temporary_path() -> UserError:
    """Return the error of a directory for temporary files in which the processes' socket cannot be."""
    directory = tempfile.gettempdir()
    return UserError(
        f"the directory for temporary files has a path of {len(os.fsencode(directory))} bytes: {directory}",
        "a shorter one, since the path of a socket in it has at most 107 bytes",
        "set TMPDIR, for example to /tmp",
    )


def _cannot_start() -> UserError:
    """Return the error of a machine on which workers cannot start, for which no file is to blame."""
    return UserError(
        "worker processes die as soon as they start",
        "a machine with memory for them",
        "see the messages above, or try fewer workers",
    )


def _serve(pipe: Connection, function: Callable[[Any], Any], limits: Limits) -> None:
    """Reply to each item with (True, result) or (False, exception), until the parent closes the pipe."""
    # The parent handles Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # After kill -9 of the parent nothing else would end a worker that is busy.
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    limits_of.apply(limits)
    pipe.send((True, None))
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            reply = True, function(item)
        except Exception as error:
            error.add_note(traceback.format_exc())
            reply = False, error
        pipe.send(reply)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
