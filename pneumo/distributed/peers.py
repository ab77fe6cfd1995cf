"""What the ranks of a world know of each other: heartbeats and exit statuses, exchanged through a store on rank 0."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pneumo.distributed.heartbeat import HEARTBEAT
from pneumo.distributed.world import World
from pneumo.runtime.console import log

INTERVAL_S = 1.0
"""Seconds between two heartbeats."""
CONNECT_TIMEOUT_S = 60.0


class ExitStatus(NamedTuple):
    """How a rank ends."""

    code: int
    message: str
    """Its error message, with the traceback where there is one."""


class ProcessIdentity(NamedTuple):
    """Distinguishes a process from all others, also from a later one with the same process id."""

    host: str
    pid: int
    start_time: str
    """In clock ticks since boot, as /proc writes it."""


@dataclass
class Peer:
    """The last known state of another rank."""

    sequence: int = -1
    """Number of its last heartbeat."""
    last_heartbeat: float = field(default_factory=time.monotonic)
    """Time at which that heartbeat was new."""
    activity: str = "starting"
    waiting: bool = False
    """Whether it waits for other ranks."""
    process: ProcessIdentity | None = None
    """None until its first heartbeat."""
    exit_status: ExitStatus | None = None
    """Set once the peer has failed or was stopped."""

    def kill_if_local(self) -> None:
        """Kill the peer when it is on this machine: a frozen process would keep its launcher waiting forever."""
        if self.process is not None and self.process == identify(self.process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.process.pid, signal.SIGKILL)


class HeartbeatExchange:
    """Publishes this rank's heartbeat and reads those of all others, once a second, in a thread of its own.

    Args:
        world: All ranks; collective, every rank makes its exchange at the same time.
    """

    def __init__(self, world: World) -> None:
        self.peers = {rank: Peer() for rank in range(world.size) if rank != world.rank}
        self.last_response = time.monotonic()
        """Time at which the store last answered; minus infinity once the connection is lost."""
        self._rank = world.rank
        self._exit_status: ExitStatus | None = None
        self._published, self._closed = threading.Event(), threading.Event()
        self._store = _connect(world) if world.size > 1 else None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def is_connected(self) -> bool:
        """False for a single rank, and for one that could not reach rank 0's store."""
        return self._store is not None

    def start(self) -> None:
        """Start the thread."""
        if self.is_connected:
            self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._closed.set()
        if self.is_connected:
            # A thread that is inside the store's C++ code when the interpreter ends would abort the process.
            self._thread.join(2 * INTERVAL_S)

    def publish_exit(self, status: ExitStatus) -> None:
        """Tell the peers how this rank ends, and leave them time to read it: rank 0's store ends with its process."""
        if not self.is_connected:
            return
        self._exit_status = status
        self._published.wait(3 * INTERVAL_S)
        if self._rank == 0:
            time.sleep(2.5 * INTERVAL_S)

    def reset_timers(self) -> None:
        """Count the silence of the store and of every peer from now."""
        now = time.monotonic()
        self.last_response = now
        for peer in self.peers.values():
            peer.last_heartbeat = now

    def _run(self) -> None:
        assert self._store is not None
        sequence, process = 0, identify(os.getpid())
        try:
            while not self._closed.is_set():
                sequence += 1
                status = self._exit_status
                state = {
                    "sequence": sequence,
                    "activity": HEARTBEAT.activity,
                    "waiting": HEARTBEAT.wait_depth > 0,
                    "process": process,
                    "exit_status": status,
                }
                self._store.set(f"rank/{self._rank}", json.dumps(state))
                if status is not None:
                    self._published.set()
                for rank, peer in self.peers.items():
                    _read_peer(self._store, rank, peer)
                self.last_response = time.monotonic()
                self._closed.wait(INTERVAL_S)
        except RuntimeError:
            # The store ended with rank 0; the watchdog decides what that means for this rank.
            self.last_response = -float("inf")
        finally:
            self._published.set()


def identify(pid: int) -> ProcessIdentity:
    """Return the identity of a process of this machine; the start time is empty when there is no such process."""
    try:
        start_time = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        start_time = ""
    return ProcessIdentity(socket.gethostname(), pid, start_time)


def _read_peer(store: TCPStore, rank: int, peer: Peer) -> None:
    key = f"rank/{rank}"
    if not store.check([key]):
        return
    state = json.loads(store.get(key))
    if state["sequence"] != peer.sequence:
        peer.sequence, peer.last_heartbeat = state["sequence"], time.monotonic()
    peer.activity, peer.waiting = state["activity"], state["waiting"]
    peer.process = ProcessIdentity(*state["process"])
    peer.exit_status = None if state["exit_status"] is None else ExitStatus(*state["exit_status"])


def _connect(world: World) -> TCPStore | None:
    """Open the store on rank 0 and connect the others to it; None on a rank that cannot reach it. Collective."""
    # Port 0 lets the system choose a free one.
    server = TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False) if world.is_leader else None  # noqa: S104  # nosec B104
    port = world.broadcast(server.port if server is not None else 0)
    if server is not None:
        return server
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    try:
        return TCPStore(host, port, is_master=False, timeout=timedelta(seconds=CONNECT_TIMEOUT_S))
    except RuntimeError as error:
        log.warning(
            "rank 0 cannot be reached at %s:%d (%s): a lost rank will be noticed by the backend's timeout only",
            host, port, str(error).splitlines()[0],
        )  # fmt: skip
        return None
