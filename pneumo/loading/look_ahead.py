"""Working ahead of the consumer by a bounded amount."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def look_ahead(started: Iterable[T], weight: Callable[[T], int], enough: int) -> Iterator[T]:
    """Yield items in order, having taken further ones while the one given is worked with.

    Taking an item from ``started`` is what starts the work on it.

    Args:
        started: The items.
        weight: What an item counts.
        enough: Weight that is kept under way beyond the item given; at least one item is, whatever its weight.
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
