"""Starts the ranks of one machine, forwards signals to them, and passes their exit code on.

torchrun and accelerate exit with 1 whatever code the ranks exit with, also when all of them saved and exited with 3;
batch systems act on the codes of ``ExitCode``. They also stop all ranks of a machine when one fails. Here a failed rank
does not end the others: each rank's ``Watchdog`` ends it when it depends on the failed one, so that other fold groups
finish their folds first. (Signals are no reason: torchrun forwards SIGUSR1 with ``--signals-to-handle``.)
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Literal

from annotated_types import Interval

from pneumo.distributed.gpus import count_gpus
from pneumo.runtime.config import config_dataclass, invalid_value
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, UserError

FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
MAX_PROCESSES = 256
"""Ranks on one machine; no machine has as many GPUs, and each rank takes a gigabyte of memory."""
POLL_INTERVAL_S = 0.1
"""Seconds between two polls of the ranks."""


@config_dataclass
class Arguments:
    """Flags of job/launch.py; they come before the script to start."""

    processes: Literal["auto"] | Annotated[int, Interval(ge=1, le=MAX_PROCESSES)] = "auto"
    """Ranks on this machine; auto = one per GPU, or one without GPUs."""
    nodes: Annotated[int, Interval(ge=1, le=65_536)] = 1
    """Machines that take part, each with this number of ranks."""
    node_rank: Annotated[int, Interval(ge=0, lt=65_536)] = 0
    """This machine's index among them, from 0."""
    master: str = ""
    """HOST:PORT at which all machines reach the first one; required with several machines only."""
    restarts: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    """How many times to restart all ranks of this machine after a crash; never after wrong input or a stop."""

    def __post_init__(self) -> None:
        if self.node_rank >= self.nodes:
            raise invalid_value("node_rank", self.node_rank, f"0 to {self.nodes - 1}")
        host, _, port = self.master.rpartition(":")
        if self.nodes > 1 and not self.master:
            raise UserError(f"--nodes {self.nodes} without --master", "HOST:PORT of the first one", "give --master")
        if self.master and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise UserError(f"--master {self.master}", "HOST:PORT, such as node1:29500", "correct --master")


class Launcher:
    """Runs a Python script in all ranks of this machine until they have ended.

    Args:
        arguments: How many ranks, and where the others are.
        command: The script and its arguments.
    """

    def __init__(self, arguments: Arguments, command: Sequence[str]) -> None:
        self.arguments, self.command = arguments, command
        self.local_size = max(1, count_gpus(os.environ)) if arguments.processes == "auto" else arguments.processes
        self.ranks: list[subprocess.Popen[bytes]] = []
        self.stop_requested = False

    def run(self) -> int:
        """Start the ranks, restart them after a crash as often as --restarts allows, and return the exit code."""
        for number in FORWARDED_SIGNALS:
            signal.signal(number, self._forward)
        for attempt in range(self.arguments.restarts + 1):
            code = self._run_ranks_once()
            if code in (ExitCode.DONE, ExitCode.USER, ExitCode.REQUEUE) or self.stop_requested:
                break
            if attempt < self.arguments.restarts:
                log.warning("restarting the ranks (%d of %d)", attempt + 1, self.arguments.restarts)
        return code

    def _run_ranks_once(self) -> int:
        master = self.arguments.master or f"127.0.0.1:{_free_port()}"
        for local_rank in range(self.local_size):
            environment = os.environ | self._rank_environment(local_rank, master)
            # A session of its own: a Ctrl-C in the terminal would otherwise reach the rank twice, and end it.
            self.ranks.append(
                subprocess.Popen([sys.executable, *self.command], env=environment, start_new_session=True)
            )
        codes: dict[int, int] = {}
        while len(codes) < len(self.ranks):
            for local_rank, process in enumerate(self.ranks):
                code = process.poll()
                if code is not None and local_rank not in codes:
                    if code != 0 and not any(codes.values()):
                        rank = self.arguments.node_rank * self.local_size + local_rank
                        log.warning("rank %d was the first to fail: %s", rank, describe_exit_code(code))
                    codes[local_rank] = code
            time.sleep(POLL_INTERVAL_S)
        self.ranks.clear()
        return combine_exit_codes(list(codes.values()), stop_requested=self.stop_requested)

    def _rank_environment(self, local_rank: int, master: str) -> dict[str, str]:
        """Return the variables from which torch.distributed reads a rank."""
        host, _, port = master.rpartition(":")
        return {
            "RANK": str(self.arguments.node_rank * self.local_size + local_rank),
            "WORLD_SIZE": str(self.arguments.nodes * self.local_size),
            "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": host,
            "MASTER_PORT": port,
        }

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        for process in self.ranks:
            if process.poll() is None:
                process.send_signal(number)


def combine_exit_codes(codes: Sequence[int], *, stop_requested: bool = False) -> int:
    """Return the one exit code for the codes of several ranks (negative = killed by that signal).

    Wrong input comes first, since a restart would not help; then a crash; then a stop. A rank that was killed by the
    signal that requested the stop, before it could catch it, counts as stopped.
    """
    stopped = {int(ExitCode.REQUEUE)}
    if stop_requested:
        stopped |= {-number for number in FORWARDED_SIGNALS}
    if ExitCode.USER in codes:
        return ExitCode.USER
    if any(code not in {*stopped, ExitCode.DONE} for code in codes):
        return ExitCode.BUG
    return ExitCode.REQUEUE if any(codes) else ExitCode.DONE


def describe_exit_code(code: int) -> str:
    """Return an exit code with its meaning."""
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
