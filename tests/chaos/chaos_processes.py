"""Commands in processes of their own, and the ways in which they are killed."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

PATIENCE_S = 200.0
"""Bounds a hang and nothing else."""
TOKEN = "PNEUMO_CHAOS_TOKEN"
CORES = sorted(os.sched_getaffinity(0))
# A thread for each rank, however many cores there are: sums then have one order, and results one form to the last bit.
ONE, OTHER = (["taskset", "-c", str(core), sys.executable] for core in (CORES[0], CORES[:2][-1]))
TWO = ["taskset", "-c", ",".join(map(str, CORES[:2])), sys.executable]


class Started:
    """Commands that were started together, with all processes that they start in turn.

    Args:
        commands: The words of each.
        log: File for what they say.
        scratch: Folder for temporary files, so that nothing is left on the machine.
    """

    def __init__(self, commands: Sequence[Sequence[object]], log: Path, scratch: Path) -> None:
        self.log, self.token = log, uuid.uuid4().hex
        environment = os.environ | {TOKEN: self.token, "TMPDIR": str(scratch)}
        with log.open("wb") as file:
            self.leaders = [
                subprocess.Popen(list(map(str, words)), stdout=file, stderr=subprocess.STDOUT, cwd="/", env=environment)
                for words in commands
            ]

    @property
    def codes(self) -> list[int | None]:
        """Exit codes of the commands, None for one that still runs."""
        return [leader.poll() for leader in self.leaders]

    @property
    def is_over(self) -> bool:
        """True when the commands have ended; what they started may still run."""
        return None not in self.codes

    @property
    def output(self) -> str:
        """What they have said so far."""
        return self.log.read_text(errors="replace")

    def alive(self) -> list[int]:
        """List the processes that still run, whoever their parents are; they carry the token in their environment."""
        mark, found = f"{TOKEN}={self.token}".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
        return sorted(found)

    def describe(self, pid: int) -> str:
        """Name a process for people: its script or module, and its rank."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return "a process that has just ended"
        scripts = [Path(word).name for word in words if word.endswith(".py")]
        helpers = [name for name in ("forkserver", "resource_tracker") if any(name in word for word in words)]
        rank = next((f" rank {v.partition('=')[2]}" for v in environment if v.startswith("RANK=")), "")
        is_leader = pid in [leader.pid for leader in self.leaders]
        return (
            " ".join([*helpers, *scripts[:1]] or ["python"]) + rank + ("" if is_leader or rank else f" (child {pid})")
        )

    def wait(self, over: Callable[[], bool], what: str) -> None:
        """Return once ``over`` is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not over():
            if time.monotonic() > deadline:
                self.end()
                raise AssertionError(f"{what} took more than {PATIENCE_S:g} s:\n{self.output}")
            time.sleep(0.001)

    def end(self) -> None:
        """Make sure that nothing of it still runs."""
        while pids := self.alive():
            send(signal.SIGKILL, pids)
            time.sleep(0.005)
        for leader in self.leaders:
            leader.wait()


def send(number: signal.Signals, pids: Sequence[int]) -> None:
    """Send a signal to processes, some of which may have ended meanwhile."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def everything(started: Started, rng: np.random.Generator) -> str:
    """Kill all at once, as a power cut or a batch system does."""
    pids = rng.permutation(started.alive()).tolist()
    send(signal.SIGKILL, pids)
    started.end()
    return f"SIGKILL to all {len(pids)} processes"


def one(started: Started, rng: np.random.Generator) -> str:
    """Kill one process, as the kernel does when memory is short, and leave the others a while, or to their end."""
    pids = started.alive()
    pid = int(rng.choice(pids)) if pids else 0
    grace = float(rng.uniform(0, 1.5)) if rng.random() < 0.7 else PATIENCE_S
    name = started.describe(pid)
    send(signal.SIGKILL, [pid] if pid else [])
    deadline = time.monotonic() + grace
    while started.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    left = len(started.alive())
    if grace == PATIENCE_S and left:
        started.end()
        raise AssertionError(f"{left} processes hang after {name} was killed:\n{started.output}")
    started.end()
    # A batch system that sees this code would not start the command again.
    assert 2 not in started.codes, f"exit code 2 after {name} was killed:\n{started.output}"
    return f"SIGKILL to {name} of {len(pids)} processes" + (f", {left} more after {grace:.2f} s" if left else "")


def politely(started: Started, rng: np.random.Generator) -> str:
    """Ask the commands to stop; they may save first, and leave nobody behind."""
    send(signal.SIGTERM, [leader.pid for leader in started.leaders if leader.poll() is None])
    started.wait(lambda: started.is_over and not started.alive(), "stopping after SIGTERM")
    codes = started.codes
    allowed = {0, 3, -signal.SIGTERM}
    assert allowed.issuperset(codes), f"exit codes {codes} after SIGTERM:\n{started.output}"
    return f"SIGTERM, exit code {', '.join(map(str, codes))}"


def frozen(started: Started, rng: np.random.Generator) -> str:
    """Freeze one process or all of them for a moment, then kill: others go on beside it, and it never wakes."""
    pids = started.alive()
    some = pids if rng.random() < 0.5 or not pids else [int(rng.choice(pids))]
    send(signal.SIGSTOP, some)
    pause = float(rng.uniform(0, 0.4))
    time.sleep(pause)
    started.end()
    return f"SIGSTOP to {len(some)} of {len(pids)} processes, SIGKILL to all {pause:.2f} s later"


MANNERS = {everything: 0.35, one: 0.35, politely: 0.15, frozen: 0.15}
