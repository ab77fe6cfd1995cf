"""Threads that work a bounded number of samples ahead of the consumer."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

T = TypeVar("T")


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Open a pool of threads for OpenCV's work; on exit, work that has not started is cancelled."""
    # One sample per thread is the parallelism; OpenCV's own threads would be added to it.
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(count, thread_name_prefix="loader")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(submitted: Iterable[T], weight: Callable[[T], int], min_ahead: int) -> Iterator[T]:
    """Yield items in order, after taking further ones, whose work runs while the consumer uses the one yielded.

    Args:
        submitted: The items; taking one submits its work.
        weight: Returns an item's number of samples.
        min_ahead: Samples kept in flight beyond the item yielded; at least two items are, however large.
    """
    waiting: deque[T] = deque()
    in_flight = 0
    for item in submitted:
        waiting.append(item)
        in_flight += weight(item)
        while len(waiting) > 2 and in_flight - weight(waiting[0]) >= min_ahead:
            in_flight -= weight(waiting[0])
            yield waiting.popleft()
    yield from waiting
