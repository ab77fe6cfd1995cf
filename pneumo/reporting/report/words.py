"""Numbers as the report writes them."""

import math
from collections.abc import Iterable

from pneumo.reporting.html.words import UNDEFINED


def score(value: float | None) -> str:
    """Return a Dice or a rate with three decimals, a dash where it is undefined."""
    return UNDEFINED if value is None or math.isnan(value) else f"{value:.3f}"


def with_interval(value: float, interval: tuple[float, float], sign: str = "") -> str:
    """Return a value and its interval; ``sign`` is ``+`` for differences."""
    low, high = interval
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def duration(seconds: float) -> str:
    """Return a time in the two largest units that it has."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    hours = minutes // 60
    if not hours:
        return f"{minutes} min"
    return f"{hours // 24} d {hours % 24} h" if hours >= 48 else f"{hours} h {minutes % 60:02d} min"


def listed(numbers: Iterable[int]) -> str:
    """Return numbers as ``0, 2, 3``."""
    return ", ".join(map(str, numbers))
