"""How a time grows with the size of the work: the same work per item at every size is growth to the power of 1."""

import statistics
from collections.abc import Sequence

import numpy as np

from pneumo.bench.comparison import Comparison, per_item


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the power p of a time that grows as size**p: the slope of log time over log size, by least squares.

    Args:
        sizes: Two or more different sizes of the work, above 0.
        seconds: The time of each.
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(part: str, what: str, unit: str, sizes: Sequence[int], seconds: Sequence[Sequence[float]]) -> Comparison:
    """Compare the time per item at the largest size with that at the smallest; a ratio of 1 is linear growth.

    Args:
        part: Name of the benchmark.
        what: What was measured; the items of the sizes and the power are added to it.
        unit: What one item is, such as image.
        sizes: Sizes of the work, smallest first.
        seconds: For each size the seconds of each round.
    """
    power = slope(sizes, [statistics.median(rounds) for rounds in seconds])
    small, large = ([second / size for second in seconds[i]] for i, size in ((0, sizes[0]), (-1, sizes[-1])))
    return per_item(
        part,
        f"{what}, {sizes[-1]:,} {unit}s: time grows as size^{power:.2f}",
        f"the same, {sizes[0]:,} {unit}s",
        f"us/{unit}",
        ours=large,
        theirs=small,
        scale=1e6,
    )
