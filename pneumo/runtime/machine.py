"""What this process may use of its machine, and how long it has been there."""

import contextlib
import os
import platform
import resource
import sys
import time
from pathlib import Path


def available_cores() -> int:
    """Return the number of cores that this process may use, often fewer than the machine has.

    A container, a Slurm job or ``taskset`` limits them.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(max(1, min(affinity, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """Return the CPU time that this process may use, in cores; infinity without a limit.

    A container with a limit (``docker run --cpus``, ``limits.cpu``) sees all of the machine's cores, but that many
    threads would be suspended by the scheduler again and again.
    """
    return min(map(_quota_of, _cgroups(root, "cpu")))


def _quota_of(cgroup: Path) -> float:
    try:
        if (cgroup / "cpu.max").is_file():
            limit, period = (cgroup / "cpu.max").read_text().split()
        else:
            limit = (cgroup / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu.cfs_period_us").read_text()
        return float("inf") if limit == "max" or float(limit) <= 0 else float(limit) / float(period)
    except (OSError, ValueError):
        return float("inf")


def processor_features(root: Path = Path("/")) -> frozenset[str]:
    """Return the names that Linux gives to the processor's instructions, such as ``avx512_bf16``; none elsewhere."""
    try:
        lines = (root / "proc" / "cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    # "flags" on x86, "Features" on ARM.
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())


def processor_name() -> str:
    """Return the processor's name from the kernel."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def seconds_since_start() -> float:
    """Return the age of this process in seconds, with the imports that it began with; 0 where /proc is missing."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):
        return 0.0


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that are available, at most this process's limit; 0 where it is not known.

    A container or a Slurm job with a limit (``--mem``) sees all of the machine's memory, but is killed at its own. What
    it has taken already is subtracted, without files that the system has in memory and gives up when it must.
    """
    try:
        lines = (root / "proc" / "meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return 0
    for cgroup in _cgroups(root, "memory"):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            # There is no file of the other version of cgroups, and no number without a limit.
            with contextlib.suppress(OSError, ValueError):
                available = min(available, int((cgroup / limit).read_text()) - _taken(cgroup, usage))
    return max(0, available)


def _taken(cgroup: Path, usage: str) -> int:
    """Return the bytes that a control group has taken, without cached files; 0 where that is not known."""
    try:
        taken = int((cgroup / usage).read_text())
        for line in (cgroup / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name.removeprefix("total_") in ("active_file", "inactive_file") and (
                name.startswith("total_") or usage == "memory.current"
            ):
                taken -= int(value)
        return max(0, taken)
    except (OSError, ValueError):
        return 0


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had at once."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    # Where /proc is missing. Linux counts what the process that started this one had. In bytes on macOS, else in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _cgroups(root: Path, controller: str) -> list[Path]:
    """Return this process's control group and all that it is in, of cgroup version 2 and 1; each may have a limit.

    A container often sees its own as the root. A process that Slurm or systemd started is some levels below it.
    """
    mounts = {"": root / "sys" / "fs" / "cgroup", controller: root / "sys" / "fs" / "cgroup" / controller}
    found = list(mounts.values())
    with contextlib.suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for mount in (mounts[name] for name in controllers.split(",") if name in mounts):
                own = mount / path.strip("/")
                found += [own, *(parent for parent in own.parents if parent.is_relative_to(mount))]
    return found
