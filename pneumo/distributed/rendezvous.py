"""The rendezvous: connects all ranks of one start, and none of another.

When one machine's launcher restarts its ranks, those of other machines may still be training their folds. Rank 0
therefore seals the rendezvous once all ranks have joined, and a rank that finds it sealed waits until that world has
ended and rank 0 opens the next one.

The agents of torchrun and accelerate run a store of their own at that address, which may outlast several starts: a
rank of the second start would find the port there on which rank 0 of the first one listened. With an agent, its store
only holds the port of rank 0's store, and the ranks join that one.

What the libraries do not offer: torch.distributed's ``env://`` connects to whatever listens at the address and cannot
distinguish two starts. torchelastic's c10d rendezvous can, but when a machine joins again it restarts the ranks of all
others, whatever fold they train.
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
RETRY_INTERVAL_S = 1.0
CONNECT_TIMEOUT_S = 10.0
"""Seconds of one attempt to reach rank 0; a machine that is still starting refuses or ignores connections."""
SEALED_KEY = "sealed"
"""Holds the tokens of the ranks that joined, once all have."""
PORT_KEY = "pneumo/port"
"""Key of rank 0's port in an agent's store; each start overwrites it."""


@dataclass(frozen=True)
class Rendezvous:
    """The address at which ``size`` ranks connect."""

    host: str
    port: int
    rank: int
    size: int
    timeout_s: float
    """Seconds to wait for the other ranks to join; an earlier world may take as long as it needs to end."""
    has_agent: bool = False
    """Whether a launcher's agent on rank 0's machine runs a store at ``port`` itself."""

    def join(self) -> TCPStore:
        """Return the store that the ranks of this start, and no others, are connected to.

        Raises:
            RankLost: When not all of them joined in time; rank 0 names the missing ones.
        """
        return self._host() if self.rank == 0 else self._connect_to_host()

    def _host(self) -> TCPStore:
        deadline = time.monotonic() + self.timeout_s
        # The port of a rank 0 that was killed may stay in use for a moment.
        store = self._retry(deadline, lambda: self._connect(is_master=True))
        others = [f"rank/{rank}" for rank in range(1, self.size)]
        while missing := [key for key in others if not store.check([key])]:
            if time.monotonic() > deadline:
                raise self._rank_lost(f"{', '.join(missing).replace('/', ' ')} did not join")
            time.sleep(RETRY_INTERVAL_S / 10)
        store.set(SEALED_KEY, ",".join(store.get(key).decode() for key in others))
        return store

    def _connect_to_host(self) -> TCPStore:
        token, logged = uuid.uuid4().hex, False
        deadline = time.monotonic() + self.timeout_s
        while True:
            store = self._retry(deadline, lambda: self._connect(is_master=False))
            try:
                if not store.check([SEALED_KEY]):
                    store.set(f"rank/{self.rank}", token)
                    while not store.check([SEALED_KEY]):
                        if time.monotonic() > deadline:
                            raise self._rank_lost("rank 0 is there, but others are missing")
                        time.sleep(RETRY_INTERVAL_S / 10)
                    if token in store.get(SEALED_KEY).decode().split(","):
                        return store
                # The world of an earlier start, or one that an earlier process with this rank joined.
                if not logged:
                    log.info("rank %d waits for the ranks of an earlier start to end", self.rank)
                    logged = True
                deadline = time.monotonic() + self.timeout_s
            except RuntimeError:
                # Rank 0 is gone; the next one will open a new rendezvous.
                pass
            time.sleep(RETRY_INTERVAL_S)

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
                    raise self._rank_lost(str(error).splitlines()[0]) from error
            time.sleep(RETRY_INTERVAL_S)

    def _rank_lost(self, reason: str) -> RankLost:
        return RankLost(
            f"rank {self.rank} of {self.size} did not find all others at {self.host}:{self.port} within"
            f" {self.timeout_s:.0f} s: {reason}; start all of them, and check that they reach rank 0's machine there"
        )
