"""The triplet rule (top threshold, minimum area, bottom threshold) with the head's, and its exhaustive search.

An image is positive when enough of it is above the top threshold, and the head agrees; its mask is then all
that is above the bottom threshold. The rule is the SIIM-ACR winner's; the head's part was added by those who
trained one. The figures that a rule reaches on the images it was chosen on are too good, so ``nested`` scores
each fold by the rule that the other folds chose.

The search visits every rule of a grid. With F the Dice at a bottom threshold, E the Dice of an empty mask
(1 or 0) and D the decision of an image, 0 or 1, the sum over images is sum E + sum D (F - E): for all rules at
once a product of two matrices, decisions by images and images by bottoms.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from pneumo.dataset.folds import number_patients
from pneumo.inference.histograms import BINS, REFERENCE_PIXELS, PredictionHistograms, area, dice, equivalent_area
from pneumo.runtime.errors import UserError

NEVER = 2.0 * REFERENCE_PIXELS
"""An area that no image reaches: the rule that calls every image empty, which any other has to beat."""
RESOLUTION = 9
"""Decimals of the mean Dice below which two rules tie: differences there are rounding, not merit."""


@dataclass(frozen=True)
class DecisionRule:
    """When an image is positive, and what its mask is then."""

    top_threshold: int
    """Bin (1..255) from which a pixel counts towards the area; the probability is top / 256."""
    min_area: float
    """Least area from ``top`` on, in pixels of a 1024x1024 image; one pixel is always needed."""
    bottom_threshold: int
    """Bin (1..top) from which a pixel of a positive image belongs to the mask."""
    presence_threshold: float = 0.0
    """Least probability of the head, in [0, 1]; without a head it is not asked."""

    def __post_init__(self) -> None:
        assert 1 <= self.bottom_threshold <= self.top_threshold < BINS, self
        assert self.min_area >= 0, self
        assert 0 <= self.presence_threshold <= 1, self

    def to_json(self) -> dict[str, float]:
        """Return the rule with probabilities instead of bins, ready for JSON."""
        return {
            "top_threshold": self.top_threshold / BINS,
            "min_area": self.min_area,
            "bottom_threshold": self.bottom_threshold / BINS,
            "presence_threshold": self.presence_threshold,
        }

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            UserError: When a value is missing or out of range.
        """
        names = ("top_threshold", "bottom_threshold", "min_area", "presence_threshold")
        try:
            top, bottom, area, presence = (float(values[name]) for name in names)  # type: ignore[index]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise _no_rule(values) from None
        if not (1 <= bottom * BINS <= top * BINS <= BINS - 1 and 0 <= area < np.inf and 0 <= presence <= 1):
            raise _no_rule(values)
        return cls(round(top * BINS), area, round(bottom * BINS), presence)

    def describe(self) -> str:
        """Say the rule in words."""
        if self.min_area >= NEVER:
            return "every image is empty"
        head = f" and the head says {self.presence_threshold:.2f}" if self.presence_threshold > 0 else ""
        return (
            f"positive from {self.min_area:g} px (of 1024x1024) above {self.top_threshold / BINS:.3f}{head}; "
            f"mask above {self.bottom_threshold / BINS:.3f}"
        )


def _no_rule(values: object) -> UserError:
    return UserError(
        f"thresholds {str(values)[:200]}",
        "top, bottom (1/256 <= bottom <= top <= 255/256), area in pixels and head in [0, 1]",
        "use the thresholds.json that training wrote",
    )


@dataclass(frozen=True, kw_only=True)
class SearchGrid:
    """The values that the search tries, every one with every other; each in ascending order."""

    top_thresholds: tuple[int, ...] = tuple(range(4, BINS, 4))
    min_areas: tuple[float, ...] = (
        *(0.0, 100.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1250.0, 1500.0, 2000.0, 2500.0, 3000.0),
        *(4000.0, 6000.0, 8000.0, 12000.0, NEVER),
    )
    bottom_thresholds: tuple[int, ...] = tuple(range(4, BINS, 4))
    presence_thresholds: tuple[float, ...] = tuple(step / 20 for step in range(20))


@dataclass(frozen=True, eq=False)
class NestedEstimate:
    """An honest estimate: no image was scored by a rule that it helped to choose."""

    part: npt.NDArray[np.int64]
    """(n,): number of the part each image was scored in; the folds in ascending order, or two halves."""
    rules: tuple[DecisionRule, ...]
    """The rule of each part, chosen on the others."""
    final: DecisionRule
    """The rule chosen on all images, for images that nobody has labelled."""
    dice: npt.NDArray[np.float64]
    """(n,): each image's Dice by its part's rule."""
    predicted_positive: npt.NDArray[np.bool_]
    """(n,): whether its part's rule calls it positive."""


def apply_rule(bins: npt.NDArray[np.uint8], rule: DecisionRule, head: float = float("nan")) -> npt.NDArray[np.uint8]:
    """Return the 0/1 mask that a rule makes of quantised probabilities, (rows, columns).

    Args:
        bins: (rows, columns), from ``evidence.quantise``.
        rule: The rule.
        head: The head's probability, NaN without a head.
    """
    count = int(np.count_nonzero(bins >= rule.top_threshold))
    head = float(np.float32(head))  # as evidence keeps it, so that both decide alike at the threshold
    positive = count > 0 and equivalent_area(count, bins.size) >= rule.min_area and not head < rule.presence_threshold
    return (bins >= rule.bottom_threshold).astype(np.uint8) if positive else np.zeros(bins.shape, np.uint8)


def predict_presence(evidence: PredictionHistograms, rule: DecisionRule) -> npt.NDArray[np.bool_]:
    """Return which images (n,) the rule calls positive."""
    large = (evidence.predicted[:, rule.top_threshold] > 0) & (area(evidence, rule.top_threshold) >= rule.min_area)
    return large & ~(evidence.presence_probability.astype(np.float64) < rule.presence_threshold)


def score_images(evidence: PredictionHistograms, rule: DecisionRule) -> npt.NDArray[np.float64]:
    """Return each image's Dice (n,) under the rule, equal to that of the masks that ``mask`` makes."""
    return np.where(predict_presence(evidence, rule), dice(evidence, rule.bottom_threshold), ~evidence.positive)


def search(evidence: PredictionHistograms, grids: SearchGrid | None = None) -> DecisionRule:
    """Return the rule of the grid with the highest mean Dice; see ``_best`` for ties."""
    grids = grids or SearchGrid()
    part = np.zeros(len(evidence), np.int64)
    return _best(_gains(evidence, grids, part)[0], len(evidence), grids)


def nested_estimate(evidence: PredictionHistograms, grids: SearchGrid | None = None) -> NestedEstimate:
    """Score each fold by the rule chosen on the other folds.

    With one fold only, its patients (the images, of a single patient) are divided into two halves that choose
    for each other.

    Raises:
        UserError: With fewer than two images.
    """
    grids = grids or SearchGrid()
    part = _parts(evidence)
    gains = _gains(evidence, grids, part)
    rules = []
    for k in range(len(gains)):
        # Added up anew, not total minus part: exact ties stay exact.
        others = np.delete(gains, k, axis=0).sum(axis=0)
        rules.append(_best(others, int((part != k).sum()), grids))
    values, decided = np.empty(len(evidence)), np.empty(len(evidence), np.bool_)
    for k, rule in enumerate(rules):
        index = np.flatnonzero(part == k)
        held_out = evidence.select(index)
        values[index], decided[index] = score_images(held_out, rule), predict_presence(held_out, rule)
    final = _best(gains.sum(axis=0), len(evidence), grids)
    return NestedEstimate(part=part, rules=tuple(rules), final=final, dice=values, predicted_positive=decided)


def _parts(evidence: PredictionHistograms) -> npt.NDArray[np.int64]:
    """Number the folds from 0, or divide the patients of a single fold into two halves."""
    if len(evidence) < 2:
        raise UserError(
            f"out-of-fold predictions of {len(evidence)} images", "two at least", "train on more labelled images"
        )
    folds, part = np.unique(evidence.fold, return_inverse=True)
    if len(folds) > 1:
        return part.astype(np.int64)
    groups = number_patients(evidence.patient)
    if groups.max() == 0:
        groups = np.arange(len(evidence))
    rank = np.random.default_rng(0).permutation(groups.max() + 1)
    return (rank[groups] % 2).astype(np.int64)


# On busy cores the threads of a matrix library wait for each other on products this small.
@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
def _gains(evidence: PredictionHistograms, grids: SearchGrid, part: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return what each rule adds to the summed Dice of calling every image empty.

    The result is (parts, tops, areas, heads, bottoms), with -inf where the bottom is above the top. Memory
    is bounded by one top threshold and one part at a time.
    """
    heads = grids.presence_thresholds if np.isfinite(evidence.presence_probability).any() else (0.0,)
    agrees = ~(evidence.presence_probability.astype(np.float64)[:, None] < np.asarray(heads))
    gain = np.stack([dice(evidence, b) for b in grids.bottom_thresholds], axis=1) - ~evidence.positive[:, None]
    images = [np.flatnonzero(part == k) for k in range(part.max() + 1)]
    shape = (len(images), len(grids.top_thresholds), len(grids.min_areas), len(heads), len(grids.bottom_thresholds))
    sums = np.full(shape, -np.inf)
    for t, top in enumerate(grids.top_thresholds):
        reached = area(evidence, top)[:, None] >= np.asarray(grids.min_areas)
        reached &= evidence.predicted[:, top, None] > 0
        allowed = int(np.searchsorted(grids.bottom_thresholds, top, side="right"))
        for k, index in enumerate(images):
            decisions = reached[index, :, None] & agrees[index, None, :]
            flat = decisions.reshape(len(index), -1).astype(np.float64)
            sums[k, t, ..., :allowed] = (flat.T @ gain[index, :allowed]).reshape(*shape[2:4], allowed)
    return sums


def _best(gains: npt.NDArray[np.float64], images: int, grids: SearchGrid) -> DecisionRule:
    """Pick the best rule of (tops, areas, heads, bottoms); of rules that tie, the middle one in that order.

    Where many rules do equally well (few images, or a model that separates them), the middle of the plateau
    stands farther from its edges than the first or the last.
    """
    mean = np.round(gains / images, RESOLUTION)
    ties = np.flatnonzero(mean == mean.max())
    t, a, h, b = np.unravel_index(ties[len(ties) // 2], mean.shape)
    head = 0.0 if mean.shape[2] == 1 else grids.presence_thresholds[h]
    return DecisionRule(grids.top_thresholds[t], grids.min_areas[a], grids.bottom_thresholds[b], head)
