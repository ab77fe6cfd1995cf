"""A result of ours beside a baseline's or a limit's."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A time or a rate, and what it is compared with."""

    part: str
    """Which benchmark it belongs to."""
    what: str
    """What was measured."""
    baseline: str
    """The baseline (another way to the same result) or the limit (the part of the work that cannot be left out)."""
    unit: str
    """Unit of ``ours`` and ``theirs``."""
    ours: float
    """Median over the rounds."""
    theirs: float
    """The baseline's or the limit's median over the rounds."""
    ratio: float
    """How many times faster than the baseline: the median of the rounds' own ratios, which varies less on a busy
    machine than the ratio of the medians. For a limit it stays below about 1 and is the fraction of it reached."""
    lowest: float
    """The smallest ratio of a round."""
    highest: float
    """The largest ratio of a round."""


def per_item(
    part: str, what: str, baseline: str, unit: str, *, ours: Sequence[float], theirs: Sequence[float], scale: float
) -> Comparison:
    """Compare times per item (smaller is better).

    Args:
        part: Name of the benchmark.
        what: What was measured.
        baseline: What it is compared with.
        unit: Unit of a time multiplied by ``scale``, such as ms an image.
        ours: Seconds of each round.
        theirs: The baseline's seconds of each round.
        scale: 1000 / images for milliseconds an image.
    """
    return _compare(part, what, baseline, unit, ours, theirs, lambda seconds: seconds * scale)


def per_second(
    part: str, what: str, baseline: str, unit: str, *, ours: Sequence[float], theirs: Sequence[float], items: float
) -> Comparison:
    """Compare rates (larger is better) of ``items`` in the seconds of each round; see ``per_item``."""
    return _compare(part, what, baseline, unit, ours, theirs, lambda seconds: items / seconds)


def _compare(
    part: str,
    what: str,
    baseline: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    convert: Callable[[float], float],
) -> Comparison:
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios)
    return Comparison(
        part=part,
        what=what,
        baseline=baseline,
        unit=unit,
        ours=convert(statistics.median(ours)),
        theirs=convert(statistics.median(theirs)),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )
