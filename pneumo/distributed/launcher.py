"""Starts the ranks of one machine, forwards signals to them, and passes their exit code on.

torchrun and accelerate exit with 1 whatever code the ranks exit with, also when all of them saved and exited with 3;
batch systems act on the codes of ``ExitCode``. They also stop all ranks of a machine when one fails. Here a failed rank
does not end the others: each rank's ``Watchdog`` ends it when it depends on the failed one, so that other fold groups
finish their folds first. Only while the ranks have not met, which they then cannot, are the others ended here. (Signals
are no reason: torchrun forwards SIGUSR1 with ``--signals-to-handle``.)
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import field
from types import FrameType
from typing import Annotated, Literal

from annotated_types import Interval

from pneumo.distributed.environment import LAUNCHER_PID, LAUNCHER_PIPE
from pneumo.distributed.exit_codes import combine_exit_codes, describe_exit_code
from pneumo.distributed.gpus import count_gpus
from pneumo.distributed.stopping import stop_signals
from pneumo.runtime.config import config_dataclass, invalid_value
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, UserError
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags

MAX_PROCESSES = 256
"""Ranks on one machine; no machine has as many GPUs, and each rank takes a gigabyte of memory."""
POLL_INTERVAL_S = 0.1
"""Seconds between two polls of the ranks."""
END_TIMEOUT_S = 20.0
"""Seconds between SIGTERM and SIGKILL to ranks that cannot meet any more; they have nothing to save."""


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
    verbosity: VerbosityFlags = field(default_factory=Verbosity)

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
        self.stop_signal: int | None = None

    def run(self) -> int:
        """Start the ranks, restart them after a crash as often as --restarts allows, and return the exit code."""
        for number in stop_signals():
            signal.signal(number, self._forward)
        for attempt in range(self.arguments.restarts + 1):
            code = self._run_ranks_once()
            if code in (ExitCode.DONE, ExitCode.USER, ExitCode.REQUEUE) or self.stop_signal is not None:
                break
            if attempt < self.arguments.restarts:
                log.warning("restarting the ranks (%d of %d)", attempt + 1, self.arguments.restarts)
        return code

    def _run_ranks_once(self) -> int:
        master = self.arguments.master or f"127.0.0.1:{_free_port()}"
        met, write_end = os.pipe()
        os.set_blocking(met, False)
        try:
            for local_rank in range(self.local_size):
                environment = os.environ | self._rank_environment(local_rank, master, write_end)
                # A session of its own: a Ctrl-C in the terminal would otherwise reach the rank twice, and end it.
                command = [sys.executable, *self.command]
                rank = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=(write_end,))
                self.ranks.append(rank)
            if self.stop_signal is not None:
                # It came while the ranks were started, and may have reached some of them only.
                self._send(self.stop_signal)
            return self._wait(met)
        finally:
            self.ranks.clear()
            os.close(met)
            os.close(write_end)

    def _wait(self, met: int) -> int:
        """Wait for all ranks, and end the others when one fails before they have met; return the exit code."""
        codes: dict[int, int] = {}
        have_met, deadline = False, 0.0
        while len(codes) < len(self.ranks):
            # Before the poll: a rank that fails after the meeting has written before it.
            have_met = have_met or _is_written(met)
            for local_rank, process in enumerate(self.ranks):
                code = process.poll()
                if code is None or local_rank in codes:
                    continue
                # A rank that was ended here has not failed.
                codes[local_rank] = ExitCode.DONE if deadline and code in _ENDED_HERE else code
                if code != 0 and sum(map(bool, codes.values())) == 1:
                    rank = self.arguments.node_rank * self.local_size + local_rank
                    log.warning("rank %d was the first to fail: %s", rank, describe_exit_code(code))
                if code != 0 and not have_met and not _is_written(met) and not deadline:
                    if len(codes) < len(self.ranks):
                        log.warning("the ranks had not met yet, and now cannot: ending the others")
                    self._send(signal.SIGTERM)
                    deadline = time.monotonic() + END_TIMEOUT_S
            if deadline and time.monotonic() > deadline:
                self._send(signal.SIGKILL)
            time.sleep(POLL_INTERVAL_S)
        return combine_exit_codes(list(codes.values()))

    def _rank_environment(self, local_rank: int, master: str, write_end: int) -> dict[str, str]:
        """Return the variables from which torch.distributed reads a rank, and those of this launcher."""
        host, _, port = master.rpartition(":")
        return {
            "RANK": str(self.arguments.node_rank * self.local_size + local_rank),
            "WORLD_SIZE": str(self.arguments.nodes * self.local_size),
            "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": host,
            "MASTER_PORT": port,
            LAUNCHER_PID: str(os.getpid()),
            LAUNCHER_PIPE: str(write_end),
        }

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.stop_signal = number
        self._send(number)

    def _send(self, number: int) -> None:
        for process in self.ranks:
            if process.poll() is None:
                process.send_signal(number)


_ENDED_HERE = (-signal.SIGTERM, -signal.SIGKILL, ExitCode.REQUEUE)


def _is_written(pipe: int) -> bool:
    try:
        return bool(os.read(pipe, 1))
    except BlockingIOError:
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
