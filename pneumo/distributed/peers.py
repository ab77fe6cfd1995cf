"""What the ranks of a world know of each other: heartbeats and exit statuses, exchanged through a store on rank 0.

Every rank publishes how it ends, also when it is done: a rank whose heartbeats end has otherwise been killed. The store
ends with rank 0, which therefore waits until the others have read how it ends.
"""

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
from pneumo.distributed.rendezvous import Meeting

INTERVAL_S = 1.0
"""Seconds between two heartbeats."""
CONNECT_TIMEOUT_S = 60.0
LEAVE_INTERVAL_S = 0.05
"""The same once this rank is leaving, so that none waits for another for long."""
LEAVE_TIMEOUT_S = 10.0
"""Longest time that rank 0 waits for others to read how it ends, and which of them it waits for:"""
LEAVE_SILENCE_S = 4.0
"""those that have had a heartbeat within these seconds; a peer may hold the interpreter lock for some."""


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
    idle_s: float = 0.0
    """Seconds since its last progress; the end of a wait is one."""
    process: ProcessIdentity | None = None
    """None until its first heartbeat."""
    exit_status: ExitStatus | None = None
    """Set once the peer has failed, was stopped, or is done."""
    has_read: frozenset[int] = frozenset()
    """The ranks whose exit status the peer has read."""

    def kill_if_local(self) -> None:
        """Kill the peer when it is on this machine: a frozen process would keep its launcher waiting forever."""
        if self.process is not None and self.process == identify(self.process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.process.pid, signal.SIGKILL)


class HeartbeatExchange:
    """Publishes this rank's heartbeat and reads those of all others, once a second, in a thread of its own.

    Args:
        meeting: All ranks; every rank makes its exchange at about the same time.
        name: Distinguishes several exchanges of one meeting.
    """

    def __init__(self, meeting: Meeting, name: str) -> None:
        self.peers = {rank: Peer() for rank in range(meeting.size) if rank != meeting.rank}
        self.last_response = time.monotonic()
        """Time at which the store last answered; minus infinity once the connection is lost."""
        self._rank, self._name = meeting.rank, name
        self._exit_status: ExitStatus | None = None
        self._published, self._wake, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._store = _connect(meeting) if meeting.size > 1 else None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def is_connected(self) -> bool:
        """False for a single rank."""
        return self._store is not None

    def start(self) -> None:
        """Start the thread."""
        if self.is_connected:
            self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._closed.set()
        self._wake.set()
        if self.is_connected:
            # A thread that is inside the store's C++ code when the interpreter ends would abort the process.
            self._thread.join(2 * INTERVAL_S)

    def publish_exit(self, status: ExitStatus) -> None:
        """Tell the peers how this rank ends; rank 0, whose process has the store, waits until they have read it."""
        if not self.is_connected:
            return
        self._exit_status = status
        self._wake.set()
        self._published.wait(3 * INTERVAL_S)
        deadline = time.monotonic() + LEAVE_TIMEOUT_S
        while self._rank == 0 and not self._is_read() and time.monotonic() < deadline:
            time.sleep(LEAVE_INTERVAL_S)

    def _is_read(self) -> bool:
        """Return whether every peer that is alive has read how this rank ends, or ends itself."""
        now = time.monotonic()
        return all(
            peer.exit_status is not None or self._rank in peer.has_read or now - peer.last_heartbeat > LEAVE_SILENCE_S
            for peer in self.peers.values()
        )

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
                    "idle_s": HEARTBEAT.idle_seconds(),
                    "process": process,
                    "exit_status": status,
                    "has_read": [rank for rank, peer in self.peers.items() if peer.exit_status is not None],
                }
                self._store.set(self._key(self._rank), json.dumps(state))
                if status is not None:
                    self._published.set()
                for rank, peer in self.peers.items():
                    self._read_peer(rank, peer)
                self.last_response = time.monotonic()
                self._wake.clear()
                # The status may have come between the publication above and here.
                leaving = self._exit_status is not None
                self._wake.wait(LEAVE_INTERVAL_S if leaving else INTERVAL_S)
        except RuntimeError:
            # The store ended with rank 0; the watchdog decides what that means for this rank.
            self.last_response = -float("inf")
        finally:
            self._published.set()

    def _key(self, rank: int) -> str:
        return f"{self._name}/{rank}"

    def _read_peer(self, rank: int, peer: Peer) -> None:
        assert self._store is not None
        key = self._key(rank)
        if not self._store.check([key]):
            return
        state = json.loads(self._store.get(key))
        if state["sequence"] != peer.sequence:
            peer.sequence, peer.last_heartbeat = state["sequence"], time.monotonic()
        peer.activity, peer.waiting, peer.idle_s = state["activity"], state["waiting"], state["idle_s"]
        peer.process = ProcessIdentity(*state["process"])
        peer.exit_status = None if state["exit_status"] is None else ExitStatus(*state["exit_status"])
        peer.has_read = frozenset(state["has_read"])


def identify(pid: int) -> ProcessIdentity:
    """Return the identity of a process of this machine; the start time is empty when there is no such process."""
    try:
        start_time = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        start_time = ""
    return ProcessIdentity(socket.gethostname(), pid, start_time)


def _connect(meeting: Meeting) -> TCPStore:
    """Return a connection of its own to rank 0's store: one that is shared would wait for the other's requests."""
    return TCPStore(meeting.host, meeting.port, is_master=False, timeout=timedelta(seconds=CONNECT_TIMEOUT_S))
