"""Threads that work ahead of the consumer by a bounded amount."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

T = TypeVar("T")


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads for OpenCV's work; leaving it early drops what has not begun."""
    # One sample a thread is the parallelism; OpenCV's own threads would come on top of it.
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(count, thread_name_prefix="loader")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(started: Iterable[T], weight: Callable[[T], int], enough: int) -> Iterator[T]:
    """Yield items in order, having taken further ones while the one given is worked with.

    Taking an item from ``started`` is what starts the work on it.

    Args:
        started: The items.
        weight: What an item counts.
        enough: Weight that is kept under way beyond the item given; at least two items are, whatever their weight.
    """
    waiting: deque[T] = deque()
    under_way = 0
    for item in started:
        waiting.append(item)
        under_way += weight(item)
        while len(waiting) > 2 and under_way - weight(waiting[0]) >= enough:
            under_way -= weight(waiting[0])
            yield waiting.popleft()
    yield from waiting
