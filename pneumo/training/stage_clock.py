"""How long the rest of a stage takes, by the epochs of it that this process has trained."""

import time

from pneumo.runtime.console import format_seconds
from pneumo.training.recipe import Stage


class StageClock:
    """Started before the first epoch of a stage in this process.

    Args:
        stage: The stage.
        first: Its first epoch here, from 0; after a resume a part of it may be done already.
    """

    def __init__(self, stage: Stage, first: int) -> None:
        self._stage, self._first, self._start = stage, first, time.monotonic()

    def describe_left(self, index: int) -> str:
        """Return the time left of the stage after an epoch, in words; empty after its last one."""
        left = self._stage.epochs - index - 1
        seconds = (time.monotonic() - self._start) / (index + 1 - self._first)
        return f"{format_seconds(seconds * left)} left of stage {self._stage.index + 1}" if left else ""
