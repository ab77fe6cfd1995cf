"""When a checkpoint is due by time."""

import time
from collections.abc import Callable


class SaveClock:
    """Counts the time since a checkpoint was last begun.

    Args:
        minutes: Time between two checkpoints; 0 = none is ever due.
        now: Returns the time in seconds, which changes of the clock do not affect.
    """

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self._interval_s, self._now = 60 * minutes, now
        self.restart()

    def restart(self) -> None:
        """Begin an interval."""
        self._began = self._now()

    def take_due(self) -> bool:
        """Return whether a checkpoint is due; when it is, the next interval begins."""
        due = 0 < self._interval_s <= self._now() - self._began
        if due:
            self.restart()
        return due
