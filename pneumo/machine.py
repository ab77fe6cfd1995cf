"""What this process may use of the machine it runs on."""

import os


def available_cores() -> int:
    """Return the number of cores this process may use, which is less than the machine's in a container or a job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
