"""The model of the exchange of gradients, against sums worked out by hand."""

from itertools import pairwise
from pathlib import Path

import pytest

from pneumo.bench import exchange
from pneumo.bench.exchange import NETWORK, NVLINK, Links

SLOW = Links(name="slow", bytes_per_s=100.0, latency_s=1.0)


def test_two_ranks_send_every_byte_once_in_a_ring() -> None:
    """Half of the bytes in each of two rounds, each with one latency."""
    assert exchange.ring_s(1000, 2, SLOW) == pytest.approx(5 + 1 + 5 + 1)


def test_four_ranks_send_a_quarter_in_each_of_six_rounds() -> None:
    assert exchange.ring_s(1000, 4, SLOW) == pytest.approx(6 * (2.5 + 1))


def test_a_tree_of_eight_ranks_is_three_levels_up_and_down() -> None:
    assert exchange.tree_s(1000, 8, SLOW) == pytest.approx(2 * 10 + 6 * 1)


def test_the_faster_way_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "GRADIENT_BYTES", 2500.0)
    monkeypatch.setattr(exchange, "BUCKET_BYTES", 1000.0)
    # 1000 bytes: a ring of 4 in 21 s, a tree in 24. Of 64, where messages wait: 145.7 s in a ring, 32 in a tree.
    assert exchange.exchange_s(4, SLOW) == pytest.approx(2 * 21 + 6 * (1.25 + 1))
    assert exchange.exchange_s(64, SLOW) == pytest.approx(2 * 32 + (10 + 12))


def test_what_does_not_fit_beside_the_backward_pass_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "GRADIENT_BYTES", 2000.0)
    monkeypatch.setattr(exchange, "BUCKET_BYTES", 1000.0)
    monkeypatch.setattr(exchange, "STEP_S", 30.0)
    # 42 s of exchange beside 20 s of backward pass: 22 are left, more than the last bucket's 21.
    assert exchange.efficiency(4, SLOW) == pytest.approx(30 / 52)
    monkeypatch.setattr(exchange, "STEP_S", 300.0)
    assert exchange.efficiency(4, SLOW) == pytest.approx(300 / 321)


def test_more_ranks_are_never_more_efficient() -> None:
    for links in (NVLINK, NETWORK):
        found = [exchange.efficiency(2**power, links) for power in range(1, 12)]
        assert all(before >= after for before, after in pairwise(found))


def test_the_page_has_this_table() -> None:
    page = Path(exchange.__file__).parent / "README.md"
    assert "\n".join(exchange.table()) in page.read_text()
