"""When this process last made progress, and whether it is waiting for other ranks: what ``watch`` looks at.

Written by the one thread that trains, read by the one that watches. Waiting is not the waiting rank's fault, so the
two are told apart: of a group that stands still, the rank that is *not* waiting is the one to blame.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Heartbeat:
    """State of the process; times are those of ``time.monotonic``, which no clock change moves."""

    last_progress: float = 0.0
    """When progress was last made."""
    waiting: int = 0
    """Depth of nested waits for other ranks; 0 = working."""
    activity: str = "starting"
    """The last thing that was begun, in a few words."""

    def idle_seconds(self) -> float:
        """Return the seconds since progress was last made."""
        return time.monotonic() - self.last_progress


HEARTBEAT = Heartbeat(time.monotonic())


def touch(doing: str = "") -> None:
    """Say that progress was made, and what is done next."""
    HEARTBEAT.last_progress = time.monotonic()
    if doing:
        HEARTBEAT.activity = doing


@contextmanager
def waiting() -> Iterator[None]:
    """Mark a wait for other ranks."""
    touch()
    HEARTBEAT.waiting += 1
    try:
        yield
    finally:
        HEARTBEAT.waiting -= 1
        touch()
