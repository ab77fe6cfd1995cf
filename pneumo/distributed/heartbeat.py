"""The heartbeat of this process: when it last made progress, and whether it is waiting for other ranks.

The training thread writes it, the watchdog's threads read it. Waiting and working are distinguished because a rank that
waits is not at fault: when a fold group makes no progress, the rank that is *not* waiting is the one that hangs.
On a GPU the host waits for others where it needs a result of the device, not where it queues a collective
(``Group.waiting_for_device``).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

RANK_TIMEOUT_S = 900.0
"""Default of --rank-timeout: longer than anything that a healthy rank does between two touches of its heartbeat."""


@dataclass
class Heartbeat:
    """Progress of this process; times are ``time.monotonic``, which changes of the clock do not affect."""

    last_progress: float = 0.0
    """Time of the last progress."""
    wait_depth: int = 0
    """Number of nested waits for other ranks; 0 = working."""
    activity: str = "starting"
    """What the process is doing, in a few words."""

    def idle_seconds(self) -> float:
        """Return the seconds since the last progress."""
        return time.monotonic() - self.last_progress


HEARTBEAT = Heartbeat(time.monotonic())


def touch(activity: str = "") -> None:
    """Record progress, and what the process does next."""
    HEARTBEAT.last_progress = time.monotonic()
    if activity:
        HEARTBEAT.activity = activity


@contextmanager
def waiting() -> Iterator[None]:
    """Mark a wait for other ranks."""
    touch()
    HEARTBEAT.wait_depth += 1
    try:
        yield
    finally:
        HEARTBEAT.wait_depth -= 1
        touch()
