"""Ends a rank whose peer is lost, soon and with the peer's own words, instead of leaving it to wait.

A rank that fails, is killed or hangs leaves its peers inside a collective, where they would wait for the
backend's time-out and then blame the network. So each rank tells the others once a second, through a small store on
rank 0, that it lives, what it is doing and whether it is waiting; and when it fails, why. From that a rank decides::

    this rank works, but made no progress for the patience    its own fault: it says where it stands, and ends
    a peer said that it fails                                 ends with the peer's rank and traceback
    a peer no longer tells that it lives                      killed, frozen, or its machine is gone
    everybody waits for twice the patience                    ends with what each says it is doing

Only ranks of the same fold group are peers, until the group waits for all others at the end of the job: other folds
go on. When rank 0 itself is gone, ranks of other groups train on without the store.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pneumo.distributed import heartbeat
from pneumo.distributed.heartbeat import HEARTBEAT
from pneumo.distributed.world import World
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, RankLost, StopRequested, as_user_error

INTERVAL_S = 1.0
"""Seconds between two signs of life."""
SILENCE_S = 60.0
"""A peer that gives no sign of life for so long is gone; training may hold the interpreter for some seconds."""
SILENCE_AFTER_ERROR_S = 5.0
"""The same, once a collective has failed: then one of the peers is gone, and the question is which."""

FROZEN_S = 5.0
"""A watch that was itself not run for so long has no opinion of others."""


@dataclass
class _Peer:
    """What is known of another rank."""

    count: int = -1
    """Its last sign of life."""
    heard: float = field(default_factory=time.monotonic)
    """When that sign was new."""
    doing: str = "starting"
    waiting: bool = False
    process: tuple[str, int, str] = ("", 0, "")
    """Its machine, process id and start, as ``_identify`` gives them."""
    fate: tuple[int, str] | None = None
    """Exit code and last words of a rank that fails."""


class Watchdog:
    """Watches over this rank and its peers while a ``with`` block runs.

    An error that leaves the block is told to the peers; a broken collective becomes ``RankLost`` with the peer's name.

    At first all ranks of the world are peers; ``need`` narrows that down to a fold group and widens it again.

    Args:
        world: All ranks; collective, every rank makes its watch at the same time.
        leave: Ends the process at once (a test gives its own).
    """

    def __init__(self, world: World, *, leave: Callable[[int], object] = os._exit) -> None:
        self.world, self.rank_timeout_s, self._leave = world, world.rank_timeout_s, leave
        self._others = {rank: _Peer() for rank in range(world.size) if rank != world.rank}
        self._needed = sorted(self._others)
        self._silence_s = min(SILENCE_S, self.rank_timeout_s)
        self._answered = time.monotonic()
        self._fate: tuple[int, str] | None = None
        self._told, self._over = threading.Event(), threading.Event()
        self._closing = False
        self._store = _meet(world) if world.size > 1 else None
        self._threads = [threading.Thread(target=self._decide, name="watch", daemon=True)]
        if self._store is not None:
            self._threads.append(threading.Thread(target=self._exchange, name="signs-of-life", daemon=True))

    def need(self, peers: range) -> None:
        """Say which ranks, as the world counts them, this one cannot do without from now on."""
        self._needed = [rank for rank in peers if rank != self.world.rank]

    def __enter__(self) -> Self:
        heartbeat.touch()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        try:
            if error is not None and self._store is not None:
                lost = self._find_lost() if _is_of_communication(error) else None
                self._tell_fate(lost or error)
                if lost is not None:
                    raise lost from error
        finally:
            self._over.set()
            for thread in self._threads:
                # A thread that the end of the interpreter meets inside the store's C++ code would abort the process.
                thread.join(2 * INTERVAL_S)

    # -- the thread that talks to the store -------------------------------------------------------------------------

    def _exchange(self) -> None:
        """Tell and hear signs of life until the watch is over or the store is gone."""
        count, process = 0, _identify(os.getpid())
        assert self._store is not None
        try:
            while not self._over.is_set():
                count += 1
                fate = self._fate
                life = {"count": count, "doing": HEARTBEAT.activity, "waiting": HEARTBEAT.waiting > 0, "fate": fate}
                life["process"] = process
                self._store.set(f"rank/{self.world.rank}", json.dumps(life))
                if fate is not None:
                    self._told.set()
                for rank, peer in self._others.items():
                    self._hear(rank, peer)
                self._answered = time.monotonic()
                self._over.wait(INTERVAL_S)
        except RuntimeError:
            # The store went with rank 0; _decide judges what that means for this rank.
            self._answered = -float("inf")
        finally:
            self._told.set()

    def _hear(self, rank: int, peer: _Peer) -> None:
        assert self._store is not None
        key = f"rank/{rank}"
        if not self._store.check([key]):
            return
        life = json.loads(self._store.get(key))
        if life["count"] != peer.count:
            peer.count, peer.heard = life["count"], time.monotonic()
        peer.doing, peer.waiting, peer.process = life["doing"], life["waiting"], tuple(life["process"])
        peer.fate = None if life["fate"] is None else (int(life["fate"][0]), str(life["fate"][1]))

    # -- the thread that decides ------------------------------------------------------------------------------------

    def _decide(self) -> None:
        suspected, looked = False, time.monotonic()
        while not self._over.wait(INTERVAL_S):
            slept, looked = time.monotonic() - looked, time.monotonic()
            if slept > FROZEN_S:
                self._forgive()
            lost = self._own_fault() or self._lost(self._silence_s) or self._standstill()
            # Twice in a row: at the end of a job ranks leave one after another, and that is no loss.
            if lost is None or not suspected:
                suspected = lost is not None
            elif not self._closing:
                log.error("%s", lost)
                self._say(lost.code, str(lost))
                sys.stderr.flush()
                self._leave(lost.code)
                return

    def _forgive(self) -> None:
        """Start counting anew: the process itself was frozen (Ctrl-Z, a suspended job), and nobody is to blame."""
        now = time.monotonic()
        HEARTBEAT.last_progress = self._answered = now
        for peer in self._others.values():
            peer.heard = now

    def _own_fault(self) -> RankLost | None:
        still = HEARTBEAT.idle_seconds()
        if HEARTBEAT.waiting or still < self.rank_timeout_s:
            return None
        return RankLost(
            f"rank {self.world.rank} made no progress for {still:.0f} s ({HEARTBEAT.activity}) and ends; it stood at\n"
            f"{_stack_of_main_thread()}"
            "raise --rank-timeout if it was only slow; else look at its disk and its device; starting again goes on"
        )

    def _lost(self, silence_s: float) -> RankLost | None:
        """Return which needed peer is lost, and why; None while all live."""
        now = time.monotonic()
        if 0 in self._needed and now - self._answered > silence_s:
            _end(self._others[0])
            return _gone(0, self._others[0])
        needed = {rank: self._others[rank] for rank in self._needed}
        for rank, peer in needed.items():
            # A peer that was asked to stop matters to those who wait for it; the others are stopping too, or will.
            if peer.fate is not None and (HEARTBEAT.waiting or peer.fate[0] != ExitCode.REQUEUE):
                return RankLost(
                    f"rank {rank} failed, and this rank cannot go on without it:\n{peer.fate[1]}", peer.fate[0]
                )
        # While rank 0 does not answer, nobody's silence means anything.
        if now - self._answered < INTERVAL_S + silence_s / 2:
            for rank, peer in needed.items():
                if now - peer.heard > silence_s:
                    _end(peer)
                    return _gone(rank, peer)
        return None

    def _standstill(self) -> RankLost | None:
        if not HEARTBEAT.waiting or HEARTBEAT.idle_seconds() < 2 * self.rank_timeout_s or not self._needed:
            return None
        if any(not self._others[rank].waiting for rank in self._needed):
            # Somebody works: it answers for itself. One fold group may wait for another's for days.
            return None
        doing = "\n".join(f"  rank {rank}: {self._others[rank].doing}" for rank in self._needed)
        return RankLost(
            f"rank {self.world.rank} and its peers have waited for each other for {HEARTBEAT.idle_seconds():.0f} s:\n"
            f"{doing}\n"
            "the network between their machines may be cut; starting again goes on"
        )

    # -- what happens after an error --------------------------------------------------------------------------------

    def _find_lost(self) -> RankLost | None:
        """Find out which peer broke a collective."""
        deadline = time.monotonic() + 3 * SILENCE_AFTER_ERROR_S
        while time.monotonic() < deadline:
            lost = self._lost(SILENCE_AFTER_ERROR_S)
            if lost is not None:
                return lost
            time.sleep(INTERVAL_S / 4)
        return None

    def _tell_fate(self, error: BaseException) -> None:
        user_error = as_user_error(error)
        if user_error is not None:
            self._say(ExitCode.USER, str(user_error))
        elif isinstance(error, StopRequested):
            self._say(ExitCode.REQUEUE, f"it was stopped: {error}")
        elif isinstance(error, RankLost):
            self._say(error.code, str(error))
        else:
            self._say(ExitCode.BUG, "".join(traceback.format_exception(error)))

    def _say(self, code: int, words: str) -> None:
        """Publish this rank's end, and give the peers the time to hear it when the store ends with this process."""
        if self._store is None:
            return
        self._fate = (int(code), words)
        self._told.wait(3 * INTERVAL_S)
        if self.world.is_leader:
            time.sleep(2.5 * INTERVAL_S)


def _meet(world: World) -> TCPStore | None:
    """Open the store on rank 0 and connect the others. Collective."""
    patience = timedelta(seconds=60)
    # Port 0 lets the system choose a free one.
    server = TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False) if world.is_leader else None  # noqa: S104  # nosec B104
    port = world.broadcast(server.port if server is not None else 0)
    if server is not None:
        return server
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    try:
        return TCPStore(host, port, is_master=False, timeout=patience)
    except RuntimeError as error:
        log.warning(
            "rank 0 cannot be reached at %s:%d (%s): a lost rank will be found by the backend's time-out alone",
            host, port, str(error).splitlines()[0],
        )  # fmt: skip
        return None


def _gone(rank: int, peer: _Peer) -> RankLost:
    return RankLost(
        f"rank {rank} no longer answers, and this rank cannot go on without it: it was killed, it ran out of memory,"
        f" it is frozen, or its machine is gone (it was last heard of at: {peer.doing}); starting again goes on"
    )


def _identify(pid: int) -> tuple[str, int, str]:
    """Return what tells a process from all others: its machine, its number there, and when it was started."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        started = ""
    return socket.gethostname(), pid, started


def _end(peer: _Peer) -> None:
    """Kill a peer of this machine that is given up: a frozen process would keep its launcher waiting for ever."""
    pid = peer.process[1]
    if pid > 0 and peer.process == _identify(pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _is_of_communication(error: BaseException) -> bool:
    """Tell a broken collective from an error of this rank's own."""
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "nccl", "connection", "socket")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _stack_of_main_thread() -> str:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame)[-12:]) if frame is not None else ""
