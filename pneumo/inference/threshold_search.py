"""The exhaustive search for the decision rule with the highest mean Dice.

The search scores every rule of a grid. With F the Dice at a bottom threshold, E the Dice of an empty mask (1 or 0) and
D the decision of an image, 0 or 1, the sum over images is sum E + sum D (F - E). At a top threshold, an image reaches
the smallest areas and the lowest presence thresholds up to some of each: F - E is added up once for each such pair, and
the sum of a rule is that of all pairs from its own on.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.inference.histograms import BINS, PredictionHistograms, area, dice

DECIMALS = 9
"""Decimals of the mean Dice to which rules are compared: smaller differences are rounding errors."""


@dataclass(frozen=True, kw_only=True)
class SearchGrid:
    """The values that the search combines, each tuple in ascending order."""

    top_bins: tuple[int, ...] = tuple(range(4, BINS, 4))
    min_areas: tuple[float, ...] = (
        *(0.0, 100.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1250.0, 1500.0, 2000.0, 2500.0, 3000.0),
        *(4000.0, 6000.0, 8000.0, 12000.0, NEVER),
    )
    bottom_bins: tuple[int, ...] = tuple(range(4, BINS, 4))
    presence_thresholds: tuple[float, ...] = tuple(step / 20 for step in range(20))


def search(histograms: PredictionHistograms, grid: SearchGrid | None = None) -> DecisionRule:
    """Return the rule of the grid with the highest mean Dice; see ``best`` for ties."""
    grid = fit_grid(grid or SearchGrid(), histograms)
    subset = np.zeros(len(histograms), np.int64)
    return best(sum_dice_over_empty(histograms, grid, subset)[0], len(histograms), grid)


def fit_grid(grid: SearchGrid, histograms: PredictionHistograms) -> SearchGrid:
    """Return the grid; with 0 as its only presence threshold where no image has a presence probability."""
    has_presence = np.isfinite(histograms.presence_probability).any()
    return grid if has_presence else replace(grid, presence_thresholds=(0.0,))


def sum_dice_over_empty(
    histograms: PredictionHistograms, grid: SearchGrid, subset: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Sum, for each rule, the Dice over each subset's images, minus that of calling every image empty.

    The result is (subsets, top thresholds, areas, presence thresholds, bottom thresholds), with -inf where the bottom
    threshold is above the top one. Memory beside it: a number for each image and bottom threshold.
    """
    over_empty = np.stack([dice(histograms, b) - ~histograms.positive for b in grid.bottom_bins])
    # How many of the presence thresholds an image reaches, the first ones; below the same of the areas. NaN reaches
    # all: it is sorted behind every number.
    presences = np.searchsorted(grid.presence_thresholds, histograms.presence_probability.astype(np.float64), "right")
    subsets, lengths = int(subset.max()) + 1, (len(grid.min_areas), len(grid.presence_thresholds))
    cells = (subsets, *(length + 1 for length in lengths))
    sums = np.full((subsets, len(grid.top_bins), *lengths, len(grid.bottom_bins)), -np.inf)
    for t, top in enumerate(grid.top_bins):
        areas = np.searchsorted(grid.min_areas, area(histograms, top), "right")
        areas[histograms.predicted[:, top] == 0] = 0
        # From the most that an image can reach down, so that the sum up to a cell is that of all who reach as much.
        cell = np.ravel_multi_index((subset, lengths[0] - areas, lengths[1] - presences), cells)
        allowed = int(np.searchsorted(grid.bottom_bins, top, "right"))
        by_cell = np.stack([np.bincount(cell, each, minlength=math.prod(cells)) for each in over_empty[:allowed]], -1)
        reached = by_cell.reshape(*cells, allowed).cumsum(axis=1).cumsum(axis=2)
        sums[:, t, ..., :allowed] = reached[:, -2::-1, -2::-1]
    return sums


def best(sums: npt.NDArray[np.float64], images: int, grid: SearchGrid) -> DecisionRule:
    """Return the rule with the highest mean Dice.

    Of rules that tie, it is the one nearest to their centroid, in steps of the grid along all four axes: at the edge
    of a plateau, the rule of other images would fall off it. Of equally near ones it is that with the lowest values,
    compared in the order of the axes. Where calling no image positive is among the best, nothing has shown a gain, and
    the rules that tie because they happen to call none of these images positive might call others so: then it is a
    rule that calls none positive.

    Args:
        sums: (top thresholds, areas, presence thresholds, bottom thresholds) sums over images.
        images: Number of images summed over.
        grid: The values along the axes of ``sums``.
    """
    # Of all others the mean, rounded, is lower.
    near = np.argwhere(sums >= sums.max() - 2 * images * 10.0**-DECIMALS)
    mean = np.round(sums[tuple(near.T)] / images, DECIMALS)
    ties = near[mean == mean.max()]
    if (never := np.array(grid.min_areas)[ties[:, 1]] >= NEVER).any():
        ties = ties[never]
    # Times their number, all distances are integers, and equal ones stay equal.
    distances = ((len(ties) * ties - ties.sum(axis=0)) ** 2).sum(axis=1)
    t, a, p, b = ties[distances.argmin()].tolist()
    return DecisionRule(grid.top_bins[t], grid.min_areas[a], grid.bottom_bins[b], grid.presence_thresholds[p])
