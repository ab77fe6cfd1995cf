"""Copies from the device to the host that nobody waits for until they are needed.

A GPU is given the work of the next batch before the results of the last one are read, so that it is never idle while
the host looks at them. On a CPU there is nothing to wait for, and nothing is put off.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


class Copy:
    """Copies of tensors on the host.

    Args:
        tensors: On one device. The copies begin behind the work that makes them; what is on the host is not copied.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        # Into pinned memory, which torch takes by itself for a copy that does not block.
        self._copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
        device = tensors[0].device
        self._done = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None

    def wait(self) -> list[torch.Tensor]:
        """Return the copies when they are complete."""
        if self._done is not None:
            self._done.synchronize()
        return self._copies


def behind(items: Iterable[T], device: torch.device) -> Iterator[T]:
    """Yield items in order, on a GPU each after the next one was taken, whose work then follows without a gap."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > (device.type == "cuda"):
            yield waiting.popleft()
    yield from waiting
