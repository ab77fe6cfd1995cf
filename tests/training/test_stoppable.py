"""Looks between batches: one before each, and as many as the rank with the most batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from pneumo.training.stoppable import StoppableLoader


def load(plans: Iterable[Any]) -> Iterator[Any]:
    yield from plans


@pytest.mark.parametrize("batches", [0, 2, 3])
def test_every_rank_looks_once_for_each_round(batches: int) -> None:
    looks: list[None] = []
    loader = StoppableLoader(load, 3, lambda: looks.append(None))
    plans: list[Any] = list(range(batches))
    for number, batch in enumerate(loader(plans)):
        assert batch == number
        assert len(looks) == number + 1
    assert len(looks) == 3


def test_a_stop_ends_the_batches() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(StoppableLoader(load, 1, stop)([None]))  # type: ignore[list-item]
