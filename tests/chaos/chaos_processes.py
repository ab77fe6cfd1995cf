"""Commands in their own processes, and the ways in which they are killed."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

HANG_TIMEOUT_S = 800.0
"""Nothing here takes as long unless it hangs, also on a busy machine; ranks that waited for the default --rank-timeout,
900 s, would."""
TOKEN = "PNEUMO_CHAOS_TOKEN"
CORES = sorted(os.sched_getaffinity(0))
# One thread in each rank, whatever the number of cores: sums then have one order, and results are equal bit for bit.
ONE, OTHER = (["taskset", "-c", str(core), sys.executable] for core in (CORES[0], CORES[:2][-1]))
TWO = ["taskset", "-c", ",".join(map(str, CORES[:2])), sys.executable]


class RunningCommands:
    """Commands that were started together, with all their descendants.

    Args:
        commands: The arguments of each.
        log: File for their output.
        scratch: Directory for temporary files, so that nothing is left on the machine.
    """

    def __init__(self, commands: Sequence[Sequence[object]], log: Path, scratch: Path) -> None:
        self.log, self.token = log, uuid.uuid4().hex
        environment = os.environ | {TOKEN: self.token, "TMPDIR": str(scratch)}
        with log.open("wb") as file:
            self.leaders = [
                subprocess.Popen(
                    list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, cwd="/", env=environment
                )
                for command in commands
            ]

    @property
    def codes(self) -> list[int | None]:
        """Exit codes of the commands, None for one that still runs."""
        return [leader.poll() for leader in self.leaders]

    @property
    def is_over(self) -> bool:
        """True when the commands have ended; their descendants may still run."""
        return None not in self.codes

    @property
    def output(self) -> str:
        """Their output so far."""
        return self.log.read_text(errors="replace")

    def alive(self) -> list[int]:
        """Return the processes that still run, whoever their parents are, by the token in their environment."""
        mark, found = f"{TOKEN}={self.token}".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
        return sorted(found)

    def describe(self, pid: int) -> str:
        """Return a readable name of a process: its script or module, and its rank."""
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return "a process that has just ended"
        scripts = [Path(word).name for word in arguments if word.endswith(".py")]
        helpers = [name for name in ("forkserver", "resource_tracker") if any(name in word for word in arguments)]
        rank = next((f" rank {v.partition('=')[2]}" for v in environment if v.startswith("RANK=")), "")
        is_leader = pid in [leader.pid for leader in self.leaders]
        return (
            " ".join([*helpers, *scripts[:1]] or ["python"]) + rank + ("" if is_leader or rank else f" (child {pid})")
        )

    def wait(self, over: Callable[[], bool], what: str) -> None:
        """Return once ``over`` is true; asking takes a tenth of a core, which the commands need themselves."""
        deadline, asked = time.monotonic() + HANG_TIMEOUT_S, time.monotonic()
        while not over():
            if time.monotonic() > deadline:
                self.end()
                raise AssertionError(f"{what} took more than {HANG_TIMEOUT_S:g} s:\n{self.output}")
            time.sleep(max(0.001, 9 * (time.monotonic() - asked)))
            asked = time.monotonic()

    def end(self) -> None:
        """Kill every process that still runs."""
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


def kill_all(started: RunningCommands, rng: np.random.Generator) -> str:
    """Kill all processes at once, as a power cut or a batch system does."""
    pids = rng.permutation(started.alive()).tolist()
    send(signal.SIGKILL, pids)
    started.end()
    return f"SIGKILL to all {len(pids)} processes"


def kill_one(started: RunningCommands, rng: np.random.Generator) -> str:
    """Kill one process, as the kernel does when memory is short, and let the others run a while, or until they end."""
    pids = started.alive()
    pid = int(rng.choice(pids)) if pids else 0
    grace = float(rng.uniform(0, 1.5)) if rng.random() < 0.7 else HANG_TIMEOUT_S
    name = started.describe(pid)
    send(signal.SIGKILL, [pid] if pid else [])
    deadline = time.monotonic() + grace
    while started.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    left = len(started.alive())
    if grace == HANG_TIMEOUT_S and left:
        started.end()
        raise AssertionError(f"{left} processes hang after {name} was killed:\n{started.output}")
    started.end()
    # A batch system that sees this code would not start the command again.
    assert 2 not in started.codes, f"exit code 2 after {name} was killed:\n{started.output}"
    return f"SIGKILL to {name} of {len(pids)} processes" + (f", {left} more after {grace:.2f} s" if left else "")


def terminate(started: RunningCommands, rng: np.random.Generator) -> str:
    """Send SIGTERM to the commands; they may save first, and must leave no process behind."""
    send(signal.SIGTERM, [leader.pid for leader in started.leaders if leader.poll() is None])
    started.wait(lambda: started.is_over and not started.alive(), "stopping after SIGTERM")
    codes = started.codes
    allowed = {0, 3, -signal.SIGTERM}
    assert allowed.issuperset(codes), f"exit codes {codes} after SIGTERM:\n{started.output}"
    return f"SIGTERM, exit code {', '.join(map(str, codes))}"


def freeze(started: RunningCommands, rng: np.random.Generator) -> str:
    """Stop one process or all of them for a moment, then kill all: the others run on meanwhile."""
    pids = started.alive()
    some = pids if rng.random() < 0.5 or not pids else [int(rng.choice(pids))]
    send(signal.SIGSTOP, some)
    pause = float(rng.uniform(0, 0.4))
    time.sleep(pause)
    started.end()
    return f"SIGSTOP to {len(some)} of {len(pids)} processes, SIGKILL to all {pause:.2f} s later"


KILL_METHODS = {kill_all: 0.35, kill_one: 0.35, terminate: 0.15, freeze: 0.15}
"""Ways to kill, with their probabilities."""
