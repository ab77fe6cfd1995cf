"""How tests wait: for an event, and for as long as a machine of any speed and load may need, which costs nothing."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

LONG_S = 1800
"""Longest wait for anything that is to happen."""


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[Any] | None" = None) -> None:
    """Return once the condition holds; the process that is to bring it about must run until then."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        ended = process is not None and process.poll() is not None
        if ended and not condition():
            raise AssertionError(process.communicate()[0])
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
