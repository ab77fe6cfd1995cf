"""Starts the ranks of one machine, hands signals on to them, and passes their exit code on.

accelerate's and torchrun's agents end with 1 whatever code a rank ended with, and with SIGUSR1 at once; batch systems
act on the codes of ``ExitCode``, and send SIGUSR1. This launcher keeps both, and imports nothing heavy.

Ranks that fail do not take the others down from here: a rank's own ``watch`` ends it when it needs the one that
is lost, so that the folds of other groups are trained to their end first.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Annotated

from annotated_types import Interval

from pneumo.runtime.config import config_dataclass, refuse
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, UserError

FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
MOST_PROCESSES = 256
"""Ranks on one machine; no machine has as many GPUs, and each rank takes a gigabyte of memory."""
LOOK_INTERVAL_S = 0.1


@config_dataclass
class LaunchPlan:
    """What to start."""

    command: tuple[str, ...]
    """Python script and its words."""
    processes: Annotated[int, Interval(ge=1, le=MOST_PROCESSES)]
    """Ranks on this machine."""
    nodes: Annotated[int, Interval(ge=1, le=65_536)] = 1
    """Machines that take part."""
    node_rank: Annotated[int, Interval(ge=0, lt=65_536)] = 0
    """This machine's number among them, from 0."""
    master: str = ""
    """HOST:PORT of the first machine; may be empty when there is only one."""
    restarts: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    """How often all ranks of this machine are started again after a crash."""

    def __post_init__(self) -> None:
        if self.node_rank >= self.nodes:
            raise refuse("node_rank", self.node_rank, f"0 to {self.nodes - 1}")
        host, _, port = self.master.rpartition(":")
        if self.nodes > 1 and not self.master:
            raise UserError(f"--nodes {self.nodes} without --master", "HOST:PORT of the first one", "give --master")
        if self.master and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise UserError(f"--master {self.master}", "HOST:PORT, such as node1:29500", "correct --master")

    def environment(self, local_rank: int, master: str) -> dict[str, str]:
        """Return the variables that tell a rank its place."""
        host, _, port = master.rpartition(":")
        return {
            "RANK": str(self.node_rank * self.processes + local_rank),
            "WORLD_SIZE": str(self.nodes * self.processes),
            "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(self.processes),
            "MASTER_ADDR": host,
            "MASTER_PORT": port,
        }


@dataclass
class Launcher:
    """Runs a plan to its end."""

    plan: LaunchPlan
    ranks: list[subprocess.Popen[bytes]] = field(default_factory=list)
    asked_to_stop: bool = False

    def run(self) -> int:
        """Start the ranks, again after a crash if the plan allows, and return the exit code to end with."""
        for number in FORWARDED:
            signal.signal(number, self._forward)
        for attempt in range(self.plan.restarts + 1):
            code = self._attempt()
            if code in (ExitCode.DONE, ExitCode.USER, ExitCode.REQUEUE) or self.asked_to_stop:
                break
            if attempt < self.plan.restarts:
                log.warning("starting the ranks again (%d of %d)", attempt + 1, self.plan.restarts)
        return code

    def _attempt(self) -> int:
        master = self.plan.master or f"127.0.0.1:{_free_port()}"
        for local_rank in range(self.plan.processes):
            environment = os.environ | self.plan.environment(local_rank, master)
            # Each rank gets signals from here alone: from a terminal a Ctrl-C would reach it twice, and end it.
            self.ranks.append(
                subprocess.Popen([sys.executable, *self.plan.command], env=environment, start_new_session=True)
            )
        codes: dict[int, int] = {}
        while len(codes) < len(self.ranks):
            for local_rank, process in enumerate(self.ranks):
                code = process.poll()
                if code is not None and local_rank not in codes:
                    if code != 0 and not any(codes.values()):
                        rank = self.plan.node_rank * self.plan.processes + local_rank
                        log.warning("rank %d was the first to end with a failure: %s", rank, describe(code))
                    codes[local_rank] = code
            time.sleep(LOOK_INTERVAL_S)
        self.ranks.clear()
        return combine(list(codes.values()), asked_to_stop=self.asked_to_stop)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_stop = True
        for process in self.ranks:
            if process.poll() is None:
                process.send_signal(number)


def combine(codes: Sequence[int], *, asked_to_stop: bool = False) -> int:
    """Return the one exit code for the codes of several ranks (negative = killed by that signal).

    What the user must mend goes before all else, since starting again would not help; then a crash; then a stop. A
    rank that dies of the signal it was stopped with, before it could catch it, has stopped.
    """
    stopped = {int(ExitCode.REQUEUE), *(-number for number in FORWARDED)} if asked_to_stop else {int(ExitCode.REQUEUE)}
    if ExitCode.USER in codes:
        return ExitCode.USER
    if any(code not in {*stopped, ExitCode.DONE} for code in codes):
        return ExitCode.BUG
    return ExitCode.REQUEUE if any(codes) else ExitCode.DONE


def describe(code: int) -> str:
    """Say what an exit code means."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (often: out of memory)" if -code == signal.SIGKILL else "")
    named = {ExitCode.USER: "wrong input or configuration", ExitCode.REQUEUE: "stopped, state saved"}
    meaning = next((text for known, text in named.items() if known == code), "")
    return f"exit code {code}" + (f" ({meaning})" if meaning else "")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
