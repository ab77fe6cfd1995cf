"""Processes that do the work, each under limits, so that a file that crashes or hangs a decoder ends only its reader.

A pool of the standard library ends as a whole when one of its processes dies, and does not say at what or how.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from typing import Any, Generic, TypeVar

from pneumo.dataset import limits as limits_of
from pneumo.dataset.limits import Limits
from pneumo.runtime.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """Instead of a result: the process that worked at the item ended."""

    exit_code: int
    """As ``Process.exitcode``: a signal's number, negative, or the code."""


def run(
    function: Callable[[T], R], items: Sequence[T], workers: int, limits: Limits, *, tries: int = 1
) -> Iterator[tuple[int, R | WorkerDied]]:
    """Apply a function to items in worker processes and yield (position, result) as they finish.

    A process that dies costs the item it was at, and another takes its place.

    Args:
        function: What to do with an item; its errors are raised here.
        items: What to do it with, begun in this order.
        workers: Processes at a time.
        limits: What one file may cost.
        tries: Times that an item is begun when its process dies of anything but the time limit, which is its own.

    Raises:
        UserError: When processes end before they are given anything to do.
    """
    waiting, tried = deque(range(len(items))), Counter[int]()
    staff: dict[Connection, _Worker[T, R]] = {}
    try:
        while waiting or any(worker.position is not None for worker in staff.values()):
            while len(staff) < workers and sum(worker.position is None for worker in staff.values()) < len(waiting):
                worker = _Worker(function, limits)
                staff[worker.pipe] = worker
            for pipe in wait(list(staff)):
                assert isinstance(pipe, Connection)
                worker = staff[pipe]
                position, result = worker.position, worker.answer()
                if isinstance(result, WorkerDied):
                    staff.pop(pipe)
                    if position is None:
                        raise _no_start()
                    tried[position] += 1
                    if tried[position] < tries and result.exit_code != -signal.SIGALRM:
                        waiting.append(position)
                        continue
                elif waiting:
                    following = waiting.popleft()
                    worker.begin(following, items[following])
                else:
                    staff.pop(pipe).end()
                if position is not None:
                    yield position, result
    finally:
        for worker in staff.values():
            worker.end()


class _Worker(Generic[T, R]):
    """A process and the item it is at; it answers once with None when it is ready for the first."""

    def __init__(self, function: Callable[[T], R], limits: Limits) -> None:
        context = _context()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function, limits), daemon=True)
        self.position: int | None = None
        self.process.start()
        # With this the process alone holds the other end, which closes when it dies.
        theirs.close()

    def begin(self, position: int, item: T) -> None:
        """Hand over an item."""
        self.position = position
        try:
            self.pipe.send(item)
        except OSError:
            # It has died; the pipe says so when it is read next.
            return

    def answer(self) -> R | WorkerDied:
        """Return the result that has come, or how the process ended; raise what the function raised."""
        self.position = None
        try:
            done, result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_GRACE_S)
            self.end()
            return WorkerDied(self.process.exitcode or 0)
        if not done:
            raise result
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """End the process, at work or not."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


_GRACE_S = 5.0
"""Seconds in which a process that has closed its pipe ends by itself, lest its exit code be that of a kill."""


def _context() -> ForkServerContext:
    # Not fork: the parent may have threads (a progress bar's, a test's), and a forked copy of a held lock hangs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pneumo.dataset.shard_writer"])
    return context


def _no_start() -> UserError:
    """Every file would be blamed for a machine's trouble otherwise."""
    return UserError(
        "worker processes end as soon as they start",
        "a machine with memory for them, and a script that guards its main part by __name__",
        "see the messages above, or try fewer workers",
    )


def _work(pipe: Connection, function: Callable[[Any], Any], limits: Limits) -> None:
    """Answer each item that comes with (done, result or error), until the parent hangs up."""
    # Ctrl-C is the parent's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # After kill -9 nobody else would end a worker that is at work.
    threading.Thread(target=_follow_parent, daemon=True).start()
    limits_of.apply(limits)
    pipe.send((True, None))
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, function(item)
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = False, error
        pipe.send(answer)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
