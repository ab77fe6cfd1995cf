"""A pool of processes, each under limits, so that a file that crashes or hangs a decoder ends only its reader.

A pool of the standard library ends as a whole when one of its processes dies, and reports neither the item nor the
exit code. pebble's ``ProcessPool`` (5.2) reports both, but treats a worker that dies before its "started" message is
read as one that cannot start: of 31 pools whose items killed their process at once, while other threads of the parent
were busy, 7 ended with "All workers expired". Here the parent itself records which item each process has.
"""

import contextlib
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
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar

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


class Pool:
    """Worker processes, which start when there are items for them and stay until the pool is closed.

    Args:
        workers: Number of processes, at most.
        limits: Time and memory that reading one file may take.
    """

    def __init__(self, workers: int, limits: Limits) -> None:
        self._size, self._limits = workers, limits
        self._workers: dict[Connection, _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes, whose memory is then free; others start when there are items again."""
        self._kill(list(self._workers.values()))

    def run(
        self, function: Callable[[T], R], items: Sequence[T], *, max_attempts: int = 1
    ) -> Generator[tuple[int, R | WorkerDied], None, None]:
        """Apply a function to items in the processes and yield (position, result) as they finish.

        Only the item of a process that dies is lost; another process takes its place.

        Args:
            function: Applied to each item; its exceptions are raised here.
            items: The items, started in this order.
            max_attempts: Attempts at an item whose process dies; one that exceeds the time limit is not repeated.

        Raises:
            UserError: When process after process dies before it is sent an item.
        """
        waiting, attempts = deque(range(len(items))), Counter[int]()
        failed_starts = 0
        try:
            while waiting or self._busy():
                self._start_for(len(waiting))
                self._send(waiting, function, items)
                for pipe in wait(list(self._workers)):
                    assert isinstance(pipe, Connection)
                    worker = self._workers[pipe]
                    position, result = worker.position, worker.receive()
                    failed_starts = failed_starts + 1 if position is None and isinstance(result, WorkerDied) else 0
                    if failed_starts >= MAX_FAILED_STARTS * self._size:
                        raise _cannot_start()
                    if isinstance(result, WorkerDied):
                        del self._workers[pipe]
                    if position is None:
                        continue  # ready; or dead, of which all die that start when their server is killed
                    if isinstance(result, WorkerDied):
                        attempts[position] += 1
                        if attempts[position] < max_attempts and result.exit_code not in limits_of.TIMED_OUT:
                            waiting.append(position)
                            continue
                    # Before the result is used, which may take a while.
                    self._send(waiting, function, items)
                    yield position, result
        finally:
            # Of a run that is given up; what is ready serves the next one.
            self._kill(self._busy())

    def _start_for(self, waiting: int) -> None:
        """Start processes until those that have no item suffice, or the pool is full."""
        while len(self._workers) < self._size and len(self._workers) - len(self._busy()) < waiting:
            worker = _Worker(self._limits)
            self._workers[worker.pipe] = worker

    def _send(self, waiting: deque[int], function: Callable[[T], object], items: Sequence[T]) -> None:
        """Send the next items to the processes that are ready."""
        for worker in self._workers.values():
            # One that has died since it was ready has closed its pipe, and is not sent an item.
            if waiting and worker.is_ready and not worker.pipe.poll():
                position = waiting.popleft()
                worker.send(position, function, items[position])

    def _busy(self) -> list["_Worker"]:
        return [worker for worker in self._workers.values() if worker.position is not None]

    def _kill(self, workers: Sequence["_Worker"]) -> None:
        for worker in workers:
            del self._workers[worker.pipe]
            worker.kill()


class _Worker:
    """A process and the position of its current item; it sends None when it is ready for the first."""

    def __init__(self, limits: Limits) -> None:
        self.position: int | None = None
        self.is_ready = False
        with worker_context() as context:
            self.pipe, child_end = context.Pipe()
            self.process = context.Process(target=_serve, args=(child_end, limits), daemon=True)
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

    def send(self, position: int, function: Callable[[T], object], item: T) -> None:
        """Send an item to the process, and what to do with it."""
        self.position, self.is_ready = position, False
        try:
            self.pipe.send((function, item))
        except OSError:
            # It has died; the next read of the pipe finds that.
            return

    def receive(self) -> Any:
        """Return the result, or how the process died; raise what the function raised."""
        self.position = None
        try:
            done, result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_EXIT_TIMEOUT_S)
            self.kill()
            return WorkerDied(self.process.exitcode or 0)
        self.is_ready = True
        if not done:
            raise result
        return result

    def kill(self) -> None:
        """Kill the process, whether it is working or not."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def start_server() -> None:
    """Start the process that worker processes are copies of, which imports what they need, and do not wait for it.

    A pool does that when its first process starts. A command that has much to import itself does it before.
    """
    with safe_path():
        # It is not replaced when its own creation unblocks the signal.
        resource_tracker.ensure_running()
    # While the server imports, Ctrl-C would end it with a traceback; the parent handles Ctrl-C.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with contextlib.suppress(OSError), worker_context():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _serve(pipe: Connection, limits: Limits) -> None:
    """Reply to each item with (True, result) or (False, exception), until the parent closes the pipe."""
    # The parent handles Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # After kill -9 of the parent nothing else would end a worker that is busy.
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    limits_of.apply(limits)
    pipe.send((True, None))
    while True:
        try:
            function, item = pipe.recv()
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
