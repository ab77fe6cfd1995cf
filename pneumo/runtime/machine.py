"""What this process may use of the machine it runs on."""

import os
from pathlib import Path


def available_cores() -> int:
    """Return the number of cores this process may use, which is less than the machine's in a container or a job."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(max(1, min(bound, quota(Path("/sys/fs/cgroup")))))


def quota(cgroup: Path) -> float:
    """Return the cores' worth of time that a container is allowed, by cgroup version 2 or 1; many when it has no limit.

    A container with a limit (``docker run --cpus``, ``limits.cpu``) sees all of the machine's cores; as many threads
    would be held up by the scheduler in the middle of their work.
    """
    try:
        if (cgroup / "cpu.max").is_file():
            allowed, period = (cgroup / "cpu.max").read_text().split()
        else:
            allowed = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return float("inf") if allowed == "max" or float(allowed) <= 0 else float(allowed) / float(period)
    except (OSError, ValueError):
        return float("inf")
