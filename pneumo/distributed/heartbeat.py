"""When this process last made progress, and whether it is waiting for other ranks: what ``watch`` looks at.

Written by the one thread that trains, read by the one that watches. Waiting is not the waiting rank's fault, so the
two are told apart: of a group that stands still, the rank that is *not* waiting is the one to blame.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Pulse:
    """State of the process; times are those of ``time.monotonic``, which no clock change moves."""

    beaten: float = 0.0
    """When progress was last made."""
    waiting: int = 0
    """Depth of nested waits for other ranks; 0 = working."""
    doing: str = "starting"
    """The last thing that was begun, in a few words."""

    def still_for(self) -> float:
        """Return the seconds since progress was last made."""
        return time.monotonic() - self.beaten


PULSE = Pulse(time.monotonic())


def beat(doing: str = "") -> None:
    """Say that progress was made, and what is done next."""
    PULSE.beaten = time.monotonic()
    if doing:
        PULSE.doing = doing


@contextmanager
def waiting() -> Iterator[None]:
    """Mark a wait for other ranks."""
    beat()
    PULSE.waiting += 1
    try:
        yield
    finally:
        PULSE.waiting -= 1
        beat()
