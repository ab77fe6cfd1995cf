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
    low, high = np.quantile(resampled_means(values, patients, seed=seed), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_means(
    values: npt.NDArray[np.float64], patients: npt.NDArray[np.int64], *, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return the mean of ``values`` in each of the resamples (RESAMPLES,), which the seed and the patients determine.

    So the difference between two results for the same images is paired: of the same patients, resample by resample.

    Args:
        values: (n,) one value per image.
        patients: (n,) patient of each image, numbered from 0 without gaps.
        seed: Seed of the draws.
    """
    sums, counts = np.bincount(patients, values), np.bincount(patients)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, RESAMPLES, BLOCK):
        drawn = rng.integers(len(counts), size=(BLOCK, len(counts)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)
