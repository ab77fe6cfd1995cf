"""The rendezvous: connects all ranks of one start, and none of another.

When one machine's launcher restarts its ranks, those of other machines may still be training their folds. Rank 0
therefore seals the rendezvous once all ranks have joined, and a rank that finds it sealed waits until that world has
ended and rank 0 opens the next one.

The agents of torchrun and accelerate run a store of their own at that address, which may outlast several starts: a
rank of the second start would find the port there on which rank 0 of the first one listened. With an agent, its store
only holds the port of rank 0's store, and the ranks join that one.

Until the rendezvous is sealed each rank renews its key every second, so that rank 0 knows who is starting, and who
joined and died: such a rank may come back for half a minute, as when its launcher restarts it, and then all ranks end.
From the seal on the watchdogs do this.

What the libraries do not offer: torch.distributed's ``env://`` connects to whatever listens at the address and cannot
distinguish two starts. torchelastic's c10d rendezvous can, but when a machine joins again it restarts the ranks of all
others, whatever fold they train.
"""

import json
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NoReturn, TypeVar

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pneumo.distributed import heartbeat
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, RankLost, StopRequested

T = TypeVar("T")
POLL_INTERVAL_S = 0.1
RETRY_INTERVAL_S = 1.0
"""Seconds between two attempts to connect, and between two renewals of a rank's key."""
TOO_FEW = "did not find all others"
"""What a rank says whose time is up."""
CONNECT_TIMEOUT_S = 10.0
"""Seconds of one attempt to reach rank 0; a machine that is still starting refuses or ignores connections."""
SILENCE_S = 5.0
"""A rank that has not renewed its key for so long may have died: the rendezvous is not sealed."""
RETURN_TIMEOUT_S = 30.0
"""A rank that joined and did not renew its key for so long does not come back."""
SEALED_KEY = "sealed"
"""Holds the tokens of the ranks that joined, once all have."""
LOST_KEY = "lost"
"""Holds the reason and the exit code when not all can meet."""
STOPPED = "stopped by "
"""Begins the key of a rank that was asked to stop while it waited for the others."""
PORT_KEY = "pneumo/port"
"""Key of rank 0's port in an agent's store; each start overwrites it."""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Ranks that have met: this rank's place among them, and the address of rank 0's store."""

    rank: int = 0
    size: int = 1
    host: str = ""
    port: int = 0


@dataclass
class _Key:
    """A rank's key as rank 0 sees it."""

    value: str = ""
    renewed: float = field(default_factory=time.monotonic)

    @property
    def silence_s(self) -> float:
        return time.monotonic() - self.renewed


@dataclass(frozen=True)
class Rendezvous:
    """The address at which ``size`` ranks connect."""

    host: str
    port: int
    rank: int
    size: int
    timeout_s: float
    """Seconds to wait for ranks that were not heard of; an earlier world may take as long as it needs to end."""
    has_agent: bool = False
    """Whether a launcher's agent on rank 0's machine runs a store at ``port`` itself."""
    stop_signal: Callable[[], str] = lambda: ""
    """Returns the name of the signal that asked this process to stop, "" without one."""

    def join(self) -> tuple[TCPStore, Meeting]:
        """Return the store that the ranks of this start, and no others, are connected to.

        Raises:
            RankLost: When not all of them joined in time; rank 0 names the missing ones.
            StopRequested: When this process is asked to stop meanwhile.
        """
        with heartbeat.waiting():
            store = self._host() if self.rank == 0 else self._connect_to_host()
        return store, Meeting(rank=self.rank, size=self.size, host=self.host, port=store.port)

    # -- rank 0 -----------------------------------------------------------------------------------------------------

    def _host(self) -> TCPStore:
        start = time.monotonic()
        # The port of a rank 0 that was killed may stay in use for a moment.
        store = self._retry(start + self.timeout_s, lambda: self._connect(is_master=True))
        keys: dict[int, _Key] = {}
        checked = time.monotonic()
        while not self._have_all_joined(store, keys):
            if name := self.stop_signal():
                self._publish_lost(store, f"rank 0 was {STOPPED}{name}", ExitCode.REQUEUE)
                raise StopRequested(f"{name} while waiting for the other ranks")
            now = time.monotonic()
            if now - checked > SILENCE_S:
                # This process was paused, perhaps all were.
                start += now - checked
                keys.clear()
            checked = now
            self._check_keys(store, keys, waited_s=now - start)
            time.sleep(POLL_INTERVAL_S)
        store.set(SEALED_KEY, ",".join(keys[rank].value.partition(" ")[0] for rank in range(1, self.size)))
        return store

    def _have_all_joined(self, store: TCPStore, keys: dict[int, _Key]) -> bool:
        """Read the keys of all ranks; return whether each was renewed a moment ago."""
        for rank in range(1, self.size):
            # A key that was read a moment ago needs no look; the first ones are looked for all the time.
            if rank in keys and keys[rank].silence_s < RETRY_INTERVAL_S:
                continue
            if store.check([f"rank/{rank}"]):
                value = store.get(f"rank/{rank}").decode()
                if rank not in keys or keys[rank].value != value:
                    keys[rank] = _Key(value)
        return len(keys) == self.size - 1 and all(
            key.silence_s < SILENCE_S and not key.value.startswith(STOPPED) for key in keys.values()
        )

    def _check_keys(self, store: TCPStore, keys: dict[int, _Key], waited_s: float) -> None:
        """Raise when a rank was stopped, died, or was not heard of for too long, and tell the others."""
        for rank, key in keys.items():
            if key.value.startswith(STOPPED):
                self._lose(store, f"rank {rank} was {key.value} before all ranks had met", ExitCode.REQUEUE)
            if key.silence_s > RETURN_TIMEOUT_S:
                self._lose(store, f"rank {rank} joined, and no longer responds: it was killed, or it is frozen")
        if waited_s > self.timeout_s:
            missing = ", ".join(f"rank {rank}" for rank in range(1, self.size) if rank not in keys)
            if missing:
                self._lose(store, self._describe(f"{missing} did not join"))

    def _lose(self, store: TCPStore, reason: str, code: int = ExitCode.BUG) -> NoReturn:
        self._publish_lost(store, reason, code)
        raise RankLost(reason, code)

    def _publish_lost(self, store: TCPStore, reason: str, code: int) -> None:
        store.set(LOST_KEY, json.dumps([reason, int(code)]))
        # The store ends with this process.
        time.sleep(10 * POLL_INTERVAL_S)

    # -- the other ranks --------------------------------------------------------------------------------------------

    def _connect_to_host(self) -> TCPStore:
        token, logged = uuid.uuid4().hex, False
        deadline = time.monotonic() + self.timeout_s
        while True:
            store = self._retry(deadline, lambda: self._connect(is_master=False))
            try:
                if not store.check([SEALED_KEY]):
                    # Rank 0 is alive, and decides how long it waits for the others; if it dies it has to come back.
                    deadline = float("inf")
                    self._wait_for_seal(store, token)
                if token in store.get(SEALED_KEY).decode().split(","):
                    return store
                # The world of an earlier start, or one that an earlier process with this rank joined.
                if not logged:
                    log.info("rank %d waits for the ranks of an earlier start to end", self.rank)
                    logged = True
                deadline = time.monotonic() + self.timeout_s
            except RuntimeError as error:
                # Rank 0 is gone; the next one will open a new rendezvous.
                if time.monotonic() > deadline:
                    raise self._lost(str(error).splitlines()[0]) from error
                deadline = min(deadline, time.monotonic() + RETURN_TIMEOUT_S)
            self._sleep()

    def _wait_for_seal(self, store: TCPStore, token: str) -> None:
        """Renew this rank's key until the rendezvous is sealed."""
        renewals, renewed = 0, -RETRY_INTERVAL_S
        while not store.check([SEALED_KEY]):
            if store.check([LOST_KEY]):
                reason, code = json.loads(store.get(LOST_KEY))
                raise RankLost(reason, code)
            if name := self.stop_signal():
                store.set(f"rank/{self.rank}", STOPPED + name)
                raise StopRequested(f"{name} while waiting for the other ranks")
            if time.monotonic() - renewed >= RETRY_INTERVAL_S:
                renewals, renewed = renewals + 1, time.monotonic()
                store.set(f"rank/{self.rank}", f"{token} {renewals}")
            time.sleep(POLL_INTERVAL_S)

    # -- connections ------------------------------------------------------------------------------------------------

    def _connect(self, *, is_master: bool) -> TCPStore:
        if not self.has_agent:
            return self._open(self.port, is_master=is_master)
        agent = self._open(self.port, is_master=False)
        if not is_master:
            return self._open(int(agent.get(PORT_KEY)), is_master=False)
        # Port 0 lets the system choose a free one.
        store = self._open(0, is_master=True)
        agent.set(PORT_KEY, str(store.port))
        return store

    def _open(self, port: int, *, is_master: bool) -> TCPStore:
        if not is_master:
            # torch's own attempts take ten seconds each, and print the C++ stack of every one that fails.
            socket.create_connection((self.host, port), CONNECT_TIMEOUT_S).close()
        timeout = timedelta(seconds=CONNECT_TIMEOUT_S)
        return TCPStore(self.host, port, world_size=None, is_master=is_master, timeout=timeout, wait_for_workers=False)

    def _retry(self, deadline: float, connect: Callable[[], T]) -> T:
        while True:
            try:
                return connect()
            except (RuntimeError, OSError) as error:
                if time.monotonic() > deadline:
                    raise self._lost(str(error).splitlines()[0]) from error
            self._sleep()

    def _sleep(self) -> None:
        if name := self.stop_signal():
            raise StopRequested(f"{name} while waiting for the other ranks")
        time.sleep(RETRY_INTERVAL_S)

    def _lost(self, reason: str) -> RankLost:
        return RankLost(self._describe(reason))

    def _describe(self, reason: str) -> str:
        return (
            f"rank {self.rank} of {self.size} {TOO_FEW} at {self.host}:{self.port} within"
            f" {self.timeout_s:.0f} s: {reason}; start all of them, and check that they reach rank 0's machine there"
        )
