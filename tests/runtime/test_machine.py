"""Cores and memory that a container may use, and the age of a process."""

import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import LONG_S

from pneumo.runtime.machine import (
    available_cores,
    available_memory,
    cpu_quota,
    peak_memory,
    processor_features,
    seconds_since_start,
)

# /proc/self/cgroup of a task of Slurm, by cgroup version 2 and 1.
V2 = {"proc/self/cgroup": "0::/slurm/job_7/step_0/task_0"}
V1 = {"proc/self/cgroup": "9:memory:/slurm/job_7/step_0\n5:cpu,cpuacct:/slurm/job_7/step_0\n1:name=systemd:/x:y\n0::/"}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000"}, math.inf),
        ({"cpu.max": "250000 100000"}, 2.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ({"cpu.max": "nonsense"}, math.inf),
        ({"slurm/job_7/cpu.max": "300000 100000", "slurm/job_7/step_0/cpu.max": "max 100000"}, 3),
        ({"slurm/job_8/cpu.max": "300000 100000"}, math.inf),
    ],
)
def test_a_limit_is_read_from_either_version(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    write(tmp_path, {**V2, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})
    assert cpu_quota(tmp_path) == cores


def test_at_least_one_core_is_available() -> None:
    assert available_cores() >= 1


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("model name\t: x\nflags\t\t: fpu avx2 amx_bf16\n\nflags\t\t: fpu\n", {"fpu", "avx2", "amx_bf16"}),
        ("BogoMIPS\t: 2\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("nothing\n", set()),
    ],
    ids=["x86", "ARM", "unknown"],
)
def test_features_are_those_of_the_first_processor(lines: str, expected: set[str], tmp_path: Path) -> None:
    assert processor_features(tmp_path) == frozenset()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(lines)
    assert processor_features(tmp_path) == expected


def test_the_age_of_a_process_is_counted_from_its_start() -> None:
    script = "import time; time.sleep(1.5); from pneumo.runtime.machine import seconds_since_start as age; print(age())"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG_S, check=True)
    assert 1.5 <= float(done.stdout) <= time.monotonic() - start + 0.1
    assert seconds_since_start() > float(done.stdout)


MEMINFO = "MemTotal: 16000 kB\nMemFree: 100 kB\nMemAvailable: 8000 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 0),
        ({"proc/meminfo": "nonsense"}, 0),
        ({"proc/meminfo": MEMINFO}, 8000 << 10),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "max"}, 8000 << 10),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "1000"}, 1000),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000"}, 2000),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "1000", "sys/fs/cgroup/memory.current": "700",
          "sys/fs/cgroup/memory.stat": "anon 9\nfile 500\ninactive_file 300\nactive_file 150\n"}, 750),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "1000", "sys/fs/cgroup/memory.current": "1001",
          "sys/fs/cgroup/memory.stat": "inactive_file 0\n"}, 0),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000",
          "sys/fs/cgroup/memory/memory.usage_in_bytes": "900",
          "sys/fs/cgroup/memory/memory.stat": "inactive_file 100\ntotal_inactive_file 400\ntotal_active_file 50\n"},
         1550),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": str(1 << 40)}, 8000 << 10),
        ({"proc/meminfo": MEMINFO, **V2, "sys/fs/cgroup/slurm/job_7/step_0/task_0/memory.max": "3000"}, 3000),
        ({"proc/meminfo": MEMINFO, **V2, "sys/fs/cgroup/slurm/job_7/memory.max": "3000",
          "sys/fs/cgroup/slurm/job_7/step_0/memory.max": "4000"}, 3000),
        ({"proc/meminfo": MEMINFO, **V2, "sys/fs/cgroup/slurm/job_8/memory.max": "3000"}, 8000 << 10),
        ({"proc/meminfo": MEMINFO, **V1, "sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes": "5000"}, 5000),
        # In a container that sees the machine's path but not its groups.
        ({"proc/meminfo": MEMINFO, **V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "6000"}, 6000),
    ],
)  # fmt: skip
def test_available_memory_is_at_most_the_limit_of_the_container_or_the_job(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    write(tmp_path, files)
    assert available_memory(tmp_path) == expected


def test_this_machine_has_memory() -> None:
    assert available_memory() > 1 << 20


def test_the_peak_is_that_of_the_largest_moment() -> None:
    script = "from pneumo.runtime.machine import peak_memory as p; a = p(); x = b'1' * (80 << 20); del x; print(a, p())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG_S, check=True)
    before, after = map(int, done.stdout.split())
    assert 1 << 20 < before < 100 << 20
    assert after - before > 70 << 20
    assert peak_memory() > 1 << 20


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_without_proc_the_peak_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "Name:\tpython")
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_memory() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
