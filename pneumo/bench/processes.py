"""What a command takes together with all processes that it starts, also those that outlive it."""

import json
import subprocess
import sys
from typing import NamedTuple

_WATCH = """
import ctypes, json, os, resource, subprocess, sys, threading
from pathlib import Path
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: to wait for processes whose parent has ended
peak, done = 0, threading.Event()

def below(process):
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield child
            yield from below(child)

def memory(process):
    # Of pages that several processes share, each has its part.
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

def watch():
    global peak
    while not done.wait(0.1):
        try:
            peak = max(peak, sum(map(memory, below(os.getpid()))))
        except OSError:
            pass  # a process has ended

watching = threading.Thread(target=watch)
watching.start()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
done.set()
watching.join()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, peak]))
sys.exit(code)
"""


class Use(NamedTuple):
    """What the processes took together."""

    seconds: float
    """Processor time, user and system."""
    peak_bytes: int
    """The most memory at once, seen ten times a second."""


def run(*words: str) -> Use:
    """Run Python to its end, which has to be a good one, and return what it took (Linux only)."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", _WATCH, sys.executable, *words], capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return Use(*json.loads(ended.stdout))
