"""What this process may use of its machine, and how long it has been there."""

import contextlib
import os
import time
from pathlib import Path


def available_cores() -> int:
    """Return the number of cores that this process may use, often fewer than the machine has.

    A container, a Slurm job or ``taskset`` limits them.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(max(1, min(affinity, cpu_quota(Path("/sys/fs/cgroup")))))


def cpu_quota(cgroup: Path) -> float:
    """Return the CPU time that a container may use, in cores, by cgroup version 2 or 1; infinity without a limit.

    A container with a limit (``docker run --cpus``, ``limits.cpu``) sees all of the machine's cores, but that many
    threads would be suspended by the scheduler again and again.
    """
    try:
        if (cgroup / "cpu.max").is_file():
            limit, period = (cgroup / "cpu.max").read_text().split()
        else:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return float("inf") if limit == "max" or float(limit) <= 0 else float(limit) / float(period)
    except (OSError, ValueError):
        return float("inf")


def seconds_since_start() -> float:
    """Return the age of this process in seconds, with the imports that it began with; 0 where /proc is missing."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):
        return 0.0


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that are available, at most a container's limit; 0 where it is not known.

    A container with a limit sees all of the machine's memory, but is killed at its own.
    """
    try:
        lines = (root / "proc" / "meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return 0
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        # There is no file of the other version of cgroups, and no number without a limit.
        with contextlib.suppress(OSError, ValueError):
            available = min(available, int((root / "sys" / "fs" / "cgroup" / name).read_text()))
    return available
