"""How fast the steps of an epoch are, and how long they wait for data, in this process's part of the epoch.

The clock of the host is read, and the device is never waited for: on a GPU, which may still be working on earlier
steps, the wait for data is therefore the most that it can have cost.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pneumo.distributed.collectives import Group


class StepTimes:
    """Times of the steps since the epoch began, or since training was resumed in it.

    Args:
        group: The ranks that share a step.
        batch_size: Images in a step, over all ranks.
    """

    def __init__(self, group: Group, batch_size: int) -> None:
        self.group, self.batch_size = group, batch_size
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Start the clock."""
        self._first = self._last = (time.monotonic(), 0, 0.0)
        self._steps, self._waited_s = 0, 0.0

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Count what is done meanwhile as waiting for data."""
        start = time.monotonic()
        yield
        self._waited_s += time.monotonic() - start

    def add_step(self) -> None:
        """Count a step."""
        self._steps += 1

    def since_last(self) -> dict[str, float]:
        """Return the figures of the steps since the last call in this epoch. Collective."""
        before, self._last = self._last, (time.monotonic(), self._steps, self._waited_s)
        return self._figures(before)

    def epoch(self) -> dict[str, float]:
        """Return the figures of the epoch; none when no step was left to do. Collective."""
        return self._figures(self._first)

    def _figures(self, before: tuple[float, int, float]) -> dict[str, float]:
        """Return images per second, seconds, and the share of them that the rank waited which waited longest."""
        if self._steps == before[1]:
            return {}
        start, steps, waited_s = before
        seconds = max(time.monotonic() - start, 1e-9)
        return {
            "images_per_s": (self._steps - steps) * self.batch_size / seconds,
            "step_s": seconds / (self._steps - steps),
            "train_s": seconds,
            "data_wait": self.group.largest((self._waited_s - waited_s) / seconds),
        }
