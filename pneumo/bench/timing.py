"""Timing two or more ways of doing the same work, in turns, so that other load on the machine slows all of them."""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pneumo.runtime.console import log

Work = Callable[[], object]


def time_in_turns(works: Sequence[Work], repeat: int, *, prepare: Work | None = None) -> list[list[float]]:
    """Time several works in turns.

    Each is run once without being timed, to warm up caches and pools. A different one is the first in each round, so
    that none always runs after the same one.

    Args:
        works: What to time.
        repeat: Number of rounds, at least 1.
        prepare: Called before every run, outside of the time.

    Returns:
        For each work the seconds of each round.
    """
    assert repeat >= 1
    seconds: list[list[float]] = [[] for _ in works]
    # What exists already, the libraries above all, is not searched for garbage before every run.
    gc.freeze()
    try:
        with quiet():
            for round_ in range(-1, repeat):
                for turn in range(len(works)):
                    index = (turn + max(round_, 0)) % len(works)
                    if prepare is not None:
                        prepare()
                    elapsed = _time(works[index])
                    if round_ >= 0:
                        seconds[index].append(elapsed)
    finally:
        gc.unfreeze()
    return seconds


def _time(work: Work) -> float:
    # Garbage of one work must not be collected in the time of another.
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the log lines of work that is only measured."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
