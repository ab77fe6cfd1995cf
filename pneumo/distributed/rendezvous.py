"""The meeting of the ranks: all of one start, and none of another.

When one machine's launcher starts its ranks again, those of the other machines may still be training their folds. A
plain meeting at rank 0's address would mix the two starts, and hang. So rank 0 closes the meeting when all have come,
and a rank that finds it closed waits until that world has ended and rank 0 opens the next one.

The agents of torchrun and accelerate hold a store of their own at that address, and may hold it over several starts:
a rank of the second start would find there where one of the first has listened. With them only rank 0's port is told
in that store, and the ranks meet as without.
"""

import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pneumo.runtime.console import log
from pneumo.runtime.errors import RankLost

T = TypeVar("T")
RETRY_S = 1.0
CONNECT_S = 10.0
"""Seconds of one try to reach rank 0; a machine that is still starting refuses or ignores connections."""
SEALED = "closed"
PORT = "pneumo/port"
"""Where rank 0 tells its port in an agent's store; the newest start's word is the last."""


@dataclass(frozen=True)
class Rendezvous:
    """Where and how many ranks meet."""

    host: str
    port: int
    rank: int
    size: int
    timeout_s: float
    """Seconds to wait for the others to come; for an earlier world to end there is no limit."""
    has_agent: bool = False
    """Whether a launcher's agent, on rank 0's machine, holds a store at ``port`` itself."""

    def join(self) -> TCPStore:
        """Return the store that the ranks of this start, and no others, are connected to.

        Raises:
            RankLost: When not all of them came in time; rank 0 names the missing ones.
        """
        return self._host() if self.rank == 0 else self._connect_to_host()

    def _host(self) -> TCPStore:
        deadline = time.monotonic() + self.timeout_s
        # The port of a rank 0 that was killed may be taken for a moment longer.
        store = self._retry(deadline, lambda: self._connect(is_master=True))
        others = [f"rank/{rank}" for rank in range(1, self.size)]
        while missing := [key for key in others if not store.check([key])]:
            if time.monotonic() > deadline:
                raise self._lost(f"{', '.join(missing).replace('/', ' ')} did not come")
            time.sleep(RETRY_S / 10)
        store.set(SEALED, ",".join(store.get(key).decode() for key in others))
        return store

    def _connect_to_host(self) -> TCPStore:
        token, told = uuid.uuid4().hex, False
        deadline = time.monotonic() + self.timeout_s
        while True:
            store = self._retry(deadline, lambda: self._connect(is_master=False))
            try:
                if not store.check([SEALED]):
                    store.set(f"rank/{self.rank}", token)
                    while not store.check([SEALED]):
                        if time.monotonic() > deadline:
                            raise self._lost("rank 0 is there, but others are missing")
                        time.sleep(RETRY_S / 10)
                    if token in store.get(SEALED).decode().split(","):
                        return store
                # Another start's world, or one that this rank's predecessor belongs to.
                if not told:
                    log.info("rank %d waits: ranks of an earlier start are still at work", self.rank)
                    told = True
                deadline = time.monotonic() + self.timeout_s
            except RuntimeError:
                # Rank 0 went away; the next one will open a new meeting.
                pass
            time.sleep(RETRY_S)

    def _connect(self, *, is_master: bool) -> TCPStore:
        if not self.has_agent:
            return self._open(self.port, is_master=is_master)
        agent = self._open(self.port, is_master=False)
        if not is_master:
            return self._open(int(agent.get(PORT)), is_master=False)
        # Port 0 lets the system choose a free one.
        store = self._open(0, is_master=True)
        agent.set(PORT, str(store.port))
        return store

    def _open(self, port: int, *, is_master: bool) -> TCPStore:
        if not is_master:
            # torch's own attempts take ten seconds each, and write the C++ stack of every one that fails.
            socket.create_connection((self.host, port), CONNECT_S).close()
        timeout = timedelta(seconds=CONNECT_S)
        return TCPStore(self.host, port, world_size=None, is_master=is_master, timeout=timeout, wait_for_workers=False)

    def _retry(self, deadline: float, connect: Callable[[], T]) -> T:
        while True:
            try:
                return connect()
            except (RuntimeError, OSError) as error:
                if time.monotonic() > deadline:
                    raise self._lost(str(error).splitlines()[0]) from error
            time.sleep(RETRY_S)

    def _lost(self, reason: str) -> RankLost:
        return RankLost(
            f"rank {self.rank} of {self.size} did not meet the others at {self.host}:{self.port} within"
            f" {self.timeout_s:.0f} s: {reason}; are all of them started, and can they reach rank 0's machine there?"
        )
