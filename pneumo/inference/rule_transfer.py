"""The decision rule of single networks, moved to where it suits their mean.

A rule is chosen on images that one network each has not seen, while new images are predicted by the mean of all folds'
networks. A mean has fewer extreme probabilities than each of its networks, so that a rule of theirs is too strict for
it. On images that no network has seen, labeled or not, the rule is moved until the mean calls as many of them positive
as the networks do on average, with masks as large. Since both predict the same images, it does not matter whether these
have as many pneumothoraces as the images that the rule was chosen on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pneumo.inference.decision_rule import NEVER, DecisionRule, mask_bins
from pneumo.inference.expected_score import Features, Floats, estimate
from pneumo.inference.expected_score_fit import DECIMALS
from pneumo.inference.histograms import BINS, equivalent_area

LIMIT = 1e-9
"""Estimates of presence are taken to be this far from 0 and 1, since their log-odds are infinite."""
MARGIN = 1e-4
"""Below the lowest of values that all are to reach a threshold."""
MIN_POSITIVE = 5
"""Images that the networks call positive on average: with fewer, chance alone would say where a threshold belongs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class UnlabeledPredictions:
    """Predictions for n images whose true masks are not known."""

    predicted: npt.NDArray[np.int64]
    """(n, 256): number of pixels in bin b or above."""
    presence_probability: npt.NDArray[np.float32]
    """(n,): in [0, 1]; NaN without a presence head."""

    @property
    def pixels(self) -> npt.NDArray[np.int64]:
        """(n,): number of pixels of the image."""
        return self.predicted[:, 0]

    def bins(self, rule: DecisionRule) -> npt.NDArray[np.int64]:
        """Return the bin (n,) from which a pixel belongs to each image's mask; 0 where the rule calls it empty."""
        return mask_bins(rule, self.predicted, self.pixels, self.presence_probability)

    def count_positive(self, rule: DecisionRule) -> int:
        """Return how many images the rule calls positive."""
        return int(np.count_nonzero(self.bins(rule)))

    def areas(self, b: int) -> Floats:
        """Return the areas (n,) of bin ``b`` and above, in pixels of a 1024x1024 image."""
        return equivalent_area(self.predicted[:, b], self.pixels)


def transfer(
    rule: DecisionRule, networks: Sequence[UnlabeledPredictions], mean: UnlabeledPredictions
) -> DecisionRule | None:
    """Move a rule of single networks to where it suits their mean; None where too few images are called positive.

    Of a decision by expected score, it is the estimate of presence that is moved, and with it the thresholds that are
    kept beside it, where they call enough images positive.

    Args:
        rule: Chosen on predictions of single networks.
        networks: The predictions of each network for the same n images, which it was not trained on.
        mean: Those of their mean.
    """
    thresholds = _move_thresholds(replace(rule, expected_score=None), networks, mean)
    if rule.expected_score is None:
        return thresholds
    target = _mean_count(rule, networks)
    if target < MIN_POSITIVE:
        return None
    found = estimate(rule.expected_score, Features.of(mean.predicted, mean.pixels, mean.presence_probability))
    possible = found.dice > 0
    # P (1 + D) > 1 is log(P / (1 - P)) > -log D, and the former rises with the intercept.
    presence = np.clip(found.presence[possible], LIMIT, 1 - LIMIT)
    excess = np.log(presence / (1 - presence)) + np.log(found.dice[possible])
    intercept = rule.expected_score.presence_intercept - _between(excess, target, 0.0)
    moved = replace(rule.expected_score, presence_intercept=round(float(intercept), DECIMALS))
    return replace(thresholds or rule, expected_score=moved)


def _mean_count(rule: DecisionRule, networks: Sequence[UnlabeledPredictions]) -> int:
    """Return how many images the networks call positive, on average."""
    return round(sum(each.count_positive(rule) for each in networks) / len(networks))


def _move_thresholds(
    rule: DecisionRule, networks: Sequence[UnlabeledPredictions], mean: UnlabeledPredictions
) -> DecisionRule | None:
    if rule.min_area >= NEVER or (target := _mean_count(rule, networks)) < MIN_POSITIVE:
        return None
    # First as many images with the minimum area, whatever their presence probability.
    by_area = replace(rule, presence_threshold=0.0)
    top = _nearest_bin(
        [mean.count_positive(replace(by_area, top_bin=b, bottom_bin=1)) for b in range(1, BINS)],
        sum(each.count_positive(by_area) for each in networks) / len(networks),
        rule.top_bin,
    )
    moved = replace(rule, top_bin=top, bottom_bin=1)
    if rule.presence_threshold > 0 and np.isfinite(mean.presence_probability).all():
        large = mean.bins(replace(moved, presence_threshold=0.0)) > 0
        presence = mean.presence_probability[large].astype(np.float64)
        between = _between(presence, target, rule.presence_threshold)
        moved = replace(moved, presence_threshold=max(0.0, between))
    positive = mean.bins(moved) > 0
    if not positive.any():
        return None
    # Then masks as large, on average over the positive images.
    area = sum(float(each.areas(rule.bottom_bin)[each.bins(rule) > 0].sum()) for each in networks)
    area /= sum(each.count_positive(rule) for each in networks)
    areas = [float(mean.areas(b)[positive].mean()) for b in range(1, top + 1)]
    return replace(moved, bottom_bin=_nearest_bin(areas, area, rule.bottom_bin))


def _nearest_bin(values: Sequence[float], target: float, before: int) -> int:
    """Return the bin, of those from 1 on, whose value is nearest; of several the nearest to the one before."""
    distance = np.abs(np.array(values) - target)
    ties = 1 + np.flatnonzero(distance == distance.min())
    return int(ties[np.abs(ties - before).argmin()])


def _between(values: Floats, count: int, before: float) -> float:
    """Return a threshold that ``count`` values reach: the one before where it does, else in the middle of the gap."""
    ordered = np.sort(values)[::-1]
    if len(ordered) <= count:
        return min(before, float(ordered[-1]) - MARGIN)
    low, high = float(ordered[count]), float(ordered[count - 1])
    return before if low < before < high else (low + high) / 2
