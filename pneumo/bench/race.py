"""Timing two or more ways of doing the same work, in turns, so that a busy machine slows all of them alike."""

import gc
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pneumo.runtime.console import log

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure and what it is held against."""

    part: str
    """Which benchmark it belongs to."""
    what: str
    """What was measured."""
    peer: str
    """The peer (another way to the same end) or the limit (the part of the work that nobody can leave out)."""
    unit: str
    """Unit of ``ours`` and ``theirs``."""
    ours: float
    """Median over the rounds."""
    theirs: float
    """The peer's or the limit's median over the rounds."""
    ratio: float
    """How many times faster than the peer: the median of the rounds' own ratios, which is steadier on a busy machine
    than the ratio of the medians. Against a limit it stays below about 1 and is the share of the limit reached."""
    lowest: float
    """The smallest ratio of a round."""
    highest: float
    """The largest ratio of a round."""


def race(contenders: Sequence[Work], repeat: int, *, prepare: Work | None = None) -> list[list[float]]:
    """Time contenders in turns.

    Each is run once without being timed, to warm caches and pools up. The first place goes round, so that none
    always comes after the same one.

    Args:
        contenders: What to time.
        repeat: Number of rounds, at least 1.
        prepare: Called before every run, outside of the time.

    Returns:
        For each contender the seconds of each round.
    """
    assert repeat >= 1
    seconds: list[list[float]] = [[] for _ in contenders]
    with quiet():
        for round_ in range(-1, repeat):
            for turn in range(len(contenders)):
                index = (turn + max(round_, 0)) % len(contenders)
                if prepare is not None:
                    prepare()
                taken = _time(contenders[index])
                if round_ >= 0:
                    seconds[index].append(taken)
    return seconds


def per_item(
    part: str, what: str, peer: str, unit: str, *, ours: Sequence[float], theirs: Sequence[float], scale: float
) -> Measure:
    """Return the measure of a time per item (smaller is better).

    Args:
        part: Name of the benchmark.
        what: What was measured.
        peer: What it is held against.
        unit: Unit of a time multiplied by ``scale``, such as ms an image.
        ours: Seconds of each round.
        theirs: The peer's seconds of each round.
        scale: 1000 / images for milliseconds an image.
    """
    first, second = (statistics.median(times) * scale for times in (ours, theirs))
    return _measure(part, what, peer, unit, (first, second), ours, theirs)


def per_second(
    part: str, what: str, peer: str, unit: str, *, ours: Sequence[float], theirs: Sequence[float], items: float
) -> Measure:
    """Return the measure of a rate (larger is better) of ``items`` done in the seconds of each round."""
    first, second = (items / statistics.median(times) for times in (ours, theirs))
    return _measure(part, what, peer, unit, (first, second), ours, theirs)


def _measure(
    part: str,
    what: str,
    peer: str,
    unit: str,
    figures: tuple[float, float],
    ours: Sequence[float],
    theirs: Sequence[float],
) -> Measure:
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios)
    return Measure(
        part=part,
        what=what,
        peer=peer,
        unit=unit,
        ours=figures[0],
        theirs=figures[1],
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )


def _time(work: Work) -> float:
    # Garbage left by one contender is not to be collected in another's time.
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the log lines of work that is only there to be measured from the terminal."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
