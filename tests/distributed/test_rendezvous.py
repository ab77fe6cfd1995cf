"""All ranks of one start connect, and none of another."""

import contextlib
import socket
import threading
import time

import pytest
from torch.distributed import TCPStore

from pneumo.distributed.rendezvous import PORT_KEY, SEALED_KEY, Rendezvous
from pneumo.runtime.errors import RankLost


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Rank(threading.Thread):
    """A rank that joins a rendezvous, as a thread."""

    def __init__(self, port: int, rank: int, size: int, timeout_s: float = 60, *, has_agent: bool = False) -> None:
        super().__init__(daemon=True)
        self.rendezvous = Rendezvous("127.0.0.1", port, rank, size, timeout_s, has_agent)
        self.store = None
        self.lost = ""
        self.start()

    def run(self) -> None:
        try:
            self.store = self.rendezvous.join()
        except RankLost as error:
            self.lost = str(error)

    def has_joined(self, timeout: float = 30) -> bool:
        self.join(timeout)
        return self.store is not None


def _wait_for(key: str, port: int) -> None:
    """Return once a rank has set its key in the store of rank 0."""
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(RuntimeError, OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            if TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False).check([key]):
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ranks_connect_in_any_order(port: int) -> None:
    ranks = [Rank(port, 2, 3), Rank(port, 1, 3)]
    time.sleep(0.5)
    ranks.append(Rank(port, 0, 3))
    assert all(rank.has_joined() for rank in ranks)


def test_a_rank_of_a_later_start_waits_for_the_earlier_world_to_end(port: int) -> None:
    first = [Rank(port, rank, 2) for rank in (0, 1)]
    assert all(rank.has_joined() for rank in first)
    # Rank 1 is killed and restarted, while rank 0 still trains another fold: for longer than its timeout.
    again = Rank(port, 1, 2, timeout_s=2)
    assert not again.has_joined(timeout=6)
    assert again.is_alive()
    first[0].store = first[1].store = None  # the world ends, and its store with it
    renewed = Rank(port, 0, 2)
    assert renewed.has_joined()
    assert again.has_joined()
    assert again.store.get(SEALED_KEY) == renewed.store.get(SEALED_KEY)


def test_a_rank_that_died_before_the_rendezvous_was_sealed_is_replaced(port: int) -> None:
    zero = Rank(port, 0, 3)
    dead = Rank(port, 1, 3)
    # It may start before rank 0 listens, and then retries after a second.
    _wait_for("rank/1", port)
    replacement = Rank(port, 1, 3)
    time.sleep(1)
    last = Rank(port, 2, 3)
    assert zero.has_joined()
    assert last.has_joined()
    assert replacement.has_joined()
    assert not dead.has_joined(timeout=3)


def test_an_agents_store_that_outlasts_a_start_does_not_mix_two_starts() -> None:
    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    first = [Rank(agent.port, rank, 2, has_agent=True) for rank in (1, 0)]
    assert all(rank.has_joined() for rank in first)
    first_port = agent.get(PORT_KEY)
    first[0].store = first[1].store = None  # both are killed
    early = Rank(agent.port, 1, 2, has_agent=True)
    assert not early.has_joined(timeout=3), "it connected to the first start's rank 0"
    late = Rank(agent.port, 0, 2, has_agent=True)
    assert late.has_joined()
    assert early.has_joined()
    assert agent.get(PORT_KEY) != first_port
    assert early.store.get(SEALED_KEY) == late.store.get(SEALED_KEY)


@pytest.mark.parametrize(("rank", "text"), [(0, "rank 1, rank 2 did not join"), (1, "did not find all others at")])
def test_missing_ranks_are_named(port: int, rank: int, text: str) -> None:
    found = Rank(port, rank, 3, timeout_s=2)
    found.join(40)
    assert text in found.lost
    assert "within 2 s" in found.lost
