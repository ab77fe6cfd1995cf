"""All ranks of one start connect, and none of another."""

import contextlib
import socket
import threading
import time

import pytest
from torch.distributed import TCPStore
from waiting import LONG_S, wait_until

from pneumo.distributed import rendezvous
from pneumo.distributed.rendezvous import PORT_KEY, SEALED_KEY, Rendezvous
from pneumo.runtime.errors import ExitCode, RankLost, StopRequested


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Rank(threading.Thread):
    """A rank that joins a rendezvous, as a thread."""

    def __init__(self, port: int, rank: int, size: int, timeout_s: float = LONG_S, *, has_agent: bool = False) -> None:
        super().__init__(daemon=True)
        self.signal = ""
        self.rendezvous = Rendezvous("127.0.0.1", port, rank, size, timeout_s, has_agent, lambda: self.signal)
        self.store = None
        self.lost, self.code, self.stopped = "", 0, ""
        self.start()

    def run(self) -> None:
        try:
            self.store, _ = self.rendezvous.join()
        except RankLost as error:
            self.lost, self.code = str(error), error.code
        except StopRequested as error:
            self.stopped = str(error)

    def has_joined(self, timeout: float = LONG_S) -> bool:
        self.join(timeout)
        return self.store is not None


def _wait_for(key: str, port: int) -> None:
    """Return once a rank has set its key in the store of rank 0."""

    def is_set() -> bool:
        with contextlib.suppress(RuntimeError, OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return bool(TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False).check([key]))
        return False

    wait_until(is_set)


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


def join_and_die(port: int, rank: int) -> None:
    """Join as a rank that is killed before it renews its key."""
    _wait_for_port(port)
    TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False).set(f"rank/{rank}", "a-token 1")


def _wait_for_port(port: int) -> None:

    def is_open() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    wait_until(is_open)


def test_a_rank_that_died_before_the_rendezvous_was_sealed_is_replaced(port: int) -> None:
    zero = Rank(port, 0, 3)
    join_and_die(port, 1)
    replacement = Rank(port, 1, 3)
    time.sleep(1)
    last = Rank(port, 2, 3)
    assert zero.has_joined()
    assert last.has_joined()
    assert replacement.has_joined()
    assert "a-token" not in zero.store.get(SEALED_KEY).decode()


def test_a_rank_that_joined_and_died_ends_all_whatever_the_timeout(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "RETURN_TIMEOUT_S", 3)
    ranks = [Rank(port, rank, 4, timeout_s=900) for rank in (0, 2)]
    join_and_die(port, 1)
    for rank in ranks:
        rank.join(LONG_S)
        assert rank.lost == "rank 1 joined, and no longer responds: it was killed, or it is frozen"
        assert rank.code == ExitCode.BUG


def test_the_rendezvous_is_not_sealed_with_a_rank_that_no_longer_responds(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "SILENCE_S", 1)
    monkeypatch.setattr(rendezvous, "RETURN_TIMEOUT_S", 3)
    zero = Rank(port, 0, 3)
    join_and_die(port, 1)
    time.sleep(2)
    late = Rank(port, 2, 3)
    for rank in (zero, late):
        rank.join(LONG_S)
        assert "rank 1 joined, and no longer responds" in rank.lost


def test_rank_0_has_to_come_back_soon_after_it_died(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "RETURN_TIMEOUT_S", 2)
    server = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    waiting = Rank(port, 1, 2, timeout_s=900)
    _wait_for("rank/1", port)
    del server
    waiting.join(LONG_S)
    assert "rank 1 of 2 did not find all others" in waiting.lost


@pytest.mark.parametrize("stopped", [0, 1])
def test_ranks_that_wait_for_one_that_is_stopped_are_stopped_too(port: int, stopped: int) -> None:
    ranks = [Rank(port, rank, 3) for rank in (0, 1)]
    _wait_for("rank/1", port)
    ranks[stopped].signal = "SIGTERM"
    for rank in ranks:
        rank.join(LONG_S)
    assert ranks[stopped].stopped == "SIGTERM while waiting for the other ranks"
    assert f"rank {stopped} was stopped by SIGTERM" in ranks[1 - stopped].lost
    assert ranks[1 - stopped].code == ExitCode.REQUEUE


def test_a_rank_is_stopped_while_nobody_answers(port: int) -> None:
    alone = Rank(port, 1, 2)
    alone.signal = "SIGHUP"
    alone.join(LONG_S)
    assert alone.stopped == "SIGHUP while waiting for the other ranks"


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
    found.join(LONG_S)
    assert text in found.lost
    assert "within 2 s" in found.lost
