"""Cores and memory that a container may use, and the age of a process."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import LONG_S

from pneumo.runtime.machine import available_cores, available_memory, cpu_quota, seconds_since_start


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000"}, math.inf),
        ({"cpu.max": "250000 100000"}, 2.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ({"cpu.max": "nonsense"}, math.inf),
    ],
)
def test_a_limit_is_read_from_either_version(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cpu_quota(tmp_path) == cores


def test_at_least_one_core_is_available() -> None:
    assert available_cores() >= 1


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
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": str(1 << 40)}, 8000 << 10),
    ],
)
def test_available_memory_is_at_most_the_containers_limit(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert available_memory(tmp_path) == expected


def test_this_machine_has_memory() -> None:
    assert available_memory() > 1 << 20
