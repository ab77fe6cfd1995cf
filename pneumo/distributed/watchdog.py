"""Ends a rank that depends on a lost one, within a minute and with the lost rank's own error.

A rank that fails, is killed or hangs leaves its peers blocked inside a collective. So each rank publishes a heartbeat
once a second, and its exit status when it ends (``peers``), and decides from those of the others::

    this rank is working, but made no progress for the rank timeout    prints its stack and ends
    a peer published that it failed                                    ends with the peer's rank and traceback
    a peer published that it was stopped                               the same, once this rank waits for the peer
    a peer's heartbeat stopped, and it published nothing               it was killed, is frozen, or its machine is gone
    all peers have been waiting, this rank for twice the rank timeout  ends with the activity of each

Peers are the ranks of the same fold group, until the group has trained its folds and waits for the ranks of its next
one, or at last for all: the others train on, also without the store when rank 0 itself is gone. What a rank published
is known before its silence, and decides: a rank that was stopped or is done is not lost, in whatever order its status,
its silence and the error of a collective are seen.

What the libraries do not offer: torchelastic's agent stops all ranks of its machine when one of them fails, where here
the other fold groups finish their folds first. The timeouts of NCCL and gloo act only inside a collective, name the
operation that timed out and not the error of the rank that failed, and would have to be days long for the fold groups
that rightly wait for the slowest one.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import torch.distributed as dist

from pneumo.distributed import heartbeat
from pneumo.distributed.heartbeat import HEARTBEAT
from pneumo.distributed.nccl import leave_errors_to_watchdog
from pneumo.distributed.peers import INTERVAL_S, ExitStatus, HeartbeatExchange, Peer
from pneumo.distributed.rendezvous import Meeting
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, RankLost, StartAgain, as_user_error

HEARTBEAT_TIMEOUT_S = 60.0
"""A peer without a heartbeat for so long is lost; training may hold the interpreter lock for some seconds."""
HEARTBEAT_TIMEOUT_AFTER_ERROR_S = 5.0
"""The same once a collective has failed: then a peer is lost for certain, and the question is which."""
MAX_PAUSE_S = 5.0
"""When the watchdog's own thread was paused for longer, the whole process was, and the timers mean nothing."""
_NO_FAILURE = (ExitCode.DONE, ExitCode.REQUEUE)
_FAILED = "failed, and this rank depends on"


class Watchdog:
    """Watches this rank and its peers while a ``with`` block runs.

    An error that leaves the block is published to the peers. A failed collective becomes ``RankLost``, which names
    the lost rank.

    At first all ranks of the world are peers; ``depend_on`` narrows them to a fold group, and widens them again.

    Args:
        meeting: All ranks; every rank makes its watchdog at about the same time.
        rank_timeout_s: Seconds without progress after which this rank ends.
        name: What is watched; one meeting may have several watchdogs, one after another.
        heartbeat_timeout_s: Seconds without a heartbeat after which a peer is lost, if the rank timeout is longer.
        exit_process: Ends the process at once with an exit code.
    """

    def __init__(
        self,
        meeting: Meeting,
        rank_timeout_s: float,
        name: str = "run",
        *,
        heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._rank, self._rank_timeout_s, self._exit_process = meeting.rank, rank_timeout_s, exit_process
        self._exchange = HeartbeatExchange(meeting, name)
        if self._exchange.is_connected:
            leave_errors_to_watchdog(os.environ)
        self._peers = dict(self._exchange.peers)
        self._heartbeat_timeout_s = min(heartbeat_timeout_s, rank_timeout_s)
        self._between_folds = False
        self._leaving = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def depend_on(self, ranks: Collection[int], *, between_folds: bool = False) -> None:
        """Set the ranks of the world that this one cannot do without from now on.

        Args:
            ranks: Their numbers; this rank may be among them itself.
            between_folds: Whether it waits for them while they, or others that they wait for, may still train.
        """
        self._peers = {rank: self._exchange.peers[rank] for rank in ranks if rank != self._rank}
        self._between_folds = between_folds

    def __enter__(self) -> Self:
        heartbeat.touch()
        self._thread.start()
        self._exchange.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        try:
            if self._exchange.is_connected:
                lost = self._wait_for_lost_peer() if error is not None and _is_communication_error(error) else None
                self._exchange.publish_exit(_exit_status(lost or error))
                if lost is not None:
                    raise lost from error
        finally:
            self._closed.set()
            self._exchange.close()
            self._thread.join(2 * INTERVAL_S)

    def _watch(self) -> None:
        suspected, checked = False, time.monotonic()
        while not self._closed.wait(INTERVAL_S):
            paused, checked = time.monotonic() - checked, time.monotonic()
            if paused > MAX_PAUSE_S:
                self._reset_timers()
            lost = (
                self._self_timeout()
                or self._find_lost_peer(self._heartbeat_timeout_s, waiting=HEARTBEAT.wait_depth > 0)
                or self._deadlock()
            )
            # Twice in a row: at the end ranks exit one after another, and none of them is lost.
            if lost is None or not suspected:
                suspected = lost is not None
            elif not self._leaving:
                log.error("%s", lost)
                self._exchange.publish_exit(_exit_status(lost))
                sys.stderr.flush()
                self._exit_process(lost.code)
                return

    def _reset_timers(self) -> None:
        """Start all timers anew: the whole process was paused, as by Ctrl-Z, and no rank is at fault."""
        HEARTBEAT.last_progress = time.monotonic()
        self._exchange.reset_timers()

    def _self_timeout(self) -> RankLost | None:
        idle = HEARTBEAT.idle_seconds()
        if HEARTBEAT.wait_depth or idle < self._rank_timeout_s:
            return None
        return RankLost(
            f"rank {self._rank} made no progress for {idle:.0f} s ({HEARTBEAT.activity}) and ends; its stack:\n"
            f"{_main_thread_stack()}"
            "raise --rank-timeout if it was only slow; else check its disk and its device; the same command resumes"
        )

    def _find_lost_peer(self, heartbeat_timeout_s: float, *, waiting: bool) -> RankLost | None:
        """Return which peer is lost to a rank that waits for its peers or works, and why; None when all are alive."""
        now, peers = time.monotonic(), self._peers
        for rank, peer in peers.items():
            status = peer.exit_status
            # A peer that was asked to stop matters only to ranks that wait for it; the others stop too, or will.
            if status is not None and status.code not in ((ExitCode.DONE,) if waiting else _NO_FAILURE):
                how = "was stopped, and this rank waits for" if status.code == ExitCode.REQUEUE else _FAILED
                return RankLost(f"rank {rank} {how} it:\n{status.message}", status.code)
        silent = {rank: peer for rank, peer in peers.items() if peer.exit_status is None}
        store_silence_s = now - self._exchange.last_response
        if 0 in silent and store_silence_s > heartbeat_timeout_s:
            return _no_heartbeat(0, silent[0])
        # While the store does not answer, a missing heartbeat says nothing about a peer.
        if store_silence_s < INTERVAL_S + heartbeat_timeout_s / 2:
            for rank, peer in silent.items():
                if now - peer.last_heartbeat > heartbeat_timeout_s:
                    return _no_heartbeat(rank, peer)
        return None

    def _deadlock(self) -> RankLost | None:
        # Between folds a peer may itself wait for a group that this rank has no part in.
        idle, peers = HEARTBEAT.idle_seconds(), self._exchange.peers if self._between_folds else self._peers
        if not HEARTBEAT.wait_depth or idle < 2 * self._rank_timeout_s or not peers:
            return None
        if not all(peer.waiting and peer.idle_s >= self._rank_timeout_s for peer in peers.values()):
            # A working peer has a timeout of its own, and one that trains waits for moments, many times. One fold group
            # may wait for another for days.
            return None
        activities = "\n".join(f"  rank {rank}: {peer.activity}" for rank, peer in peers.items())
        return RankLost(
            f"rank {self._rank} and its peers have waited for each other for {idle:.0f} s:\n"
            f"{activities}\n"
            "check the network between their machines, and their GPUs; the same command resumes"
        )

    def _wait_for_lost_peer(self) -> RankLost | None:
        """Return which peer's loss made a collective fail; None when it does not show in time."""
        deadline = time.monotonic() + 3 * HEARTBEAT_TIMEOUT_AFTER_ERROR_S
        while time.monotonic() < deadline:
            # The collective that failed was waiting, so a peer that was stopped is the lost one, too.
            lost = self._find_lost_peer(HEARTBEAT_TIMEOUT_AFTER_ERROR_S, waiting=True)
            if lost is not None:
                return lost
            time.sleep(INTERVAL_S / 4)
        return None


def _exit_status(error: BaseException | None) -> ExitStatus:
    if error is None:
        return ExitStatus(int(ExitCode.DONE), "")
    if isinstance(error, KeyboardInterrupt):
        return ExitStatus(int(ExitCode.REQUEUE), "interrupted")
    user_error = as_user_error(error)
    if user_error is not None:
        return ExitStatus(int(ExitCode.USER), str(user_error))
    if isinstance(error, StartAgain):
        return ExitStatus(int(ExitCode.REQUEUE), str(error))
    if isinstance(error, RankLost):
        return ExitStatus(error.code, str(error))
    return ExitStatus(int(ExitCode.BUG), "".join(traceback.format_exception(error)))


def _no_heartbeat(rank: int, peer: Peer) -> RankLost:
    peer.kill_if_local()
    return RankLost(
        f"rank {rank} no longer responds, and this rank depends on it: it was killed, it ran out of memory, it is"
        f" frozen, or its machine is gone (its last known activity: {peer.activity}); the same command resumes"
    )


def _is_communication_error(error: BaseException) -> bool:
    """Return whether an error is that of a failed collective, not one of this rank's own."""
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "nccl", "connection", "socket")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _main_thread_stack() -> str:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame)[-12:]) if frame is not None else ""
