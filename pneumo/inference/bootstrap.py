"""Percentile bootstrap over patients: the interval within which a mean over images would vary with other patients."""

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
BLOCK = 100
"""Resamples that are held in memory at once."""


def interval(
    values: npt.NDArray[np.float64], patients: npt.NDArray[np.int64], *, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of ``values``, drawing whole patients with replacement.

    Images of one patient resemble each other, so drawing single images would make the interval too narrow.
    (Percentile method: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.)

    Args:
        values: (n,) one value per image.
        patients: (n,) patient of each image, numbered from 0 without gaps.
        seed: Seed of the draws.
        level: Fraction of the means of the resamples between the two ends.
    """
    sums, counts = np.bincount(patients, values), np.bincount(patients)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, RESAMPLES, BLOCK):
        drawn = rng.integers(len(counts), size=(BLOCK, len(counts)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
