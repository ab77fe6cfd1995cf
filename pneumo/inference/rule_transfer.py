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

CERTAIN = 1e-9
"""Estimates of presence are taken to be this far from 0 and 1, since their log-odds are infinite."""
MARGIN = 1e-4
"""From the highest or lowest value to a threshold beyond it."""
MIN_POSITIVE = 5
"""Images that the networks call positive on average: with fewer, hardly anything says where a threshold belongs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class UnlabeledPredictions:
    """Predictions for n images whose true masks are not known."""

    predicted: npt.NDArray[np.int64]
    """(n, 256): number of pixels in bin b or above."""
    masked: npt.NDArray[np.int64]
    """(n, 256): number of pixels of the mask at threshold b, without its small components."""
    presence_probability: npt.NDArray[np.float32]
    """(n,): in [0, 1]; NaN without a presence head."""

    @property
    def pixels(self) -> npt.NDArray[np.int64]:
        """(n,): number of pixels of the image."""
        return self.predicted[:, 0]

    def mask_pixels(self, rule: DecisionRule) -> npt.NDArray[np.int64]:
        """Return the pixels (n,) of each image's mask by a rule; 0 for an empty one."""
        bins = mask_bins(rule, self.predicted, self.pixels, self.presence_probability)
        pixels: npt.NDArray[np.int64] = np.where(bins > 0, self.masked[np.arange(len(bins)), bins], 0)
        return pixels

    def count_positive(self, rule: DecisionRule) -> int:
        """Return how many images have a mask by a rule."""
        return int(np.count_nonzero(self.mask_pixels(rule)))

    def mask_area(self, rule: DecisionRule) -> float:
        """Return the sum of the masks' areas by a rule, in pixels of a 1024x1024 image."""
        return float(equivalent_area(self.mask_pixels(rule), self.pixels).sum())


def transfer(
    rule: DecisionRule, networks: Sequence[UnlabeledPredictions], mean: UnlabeledPredictions
) -> DecisionRule | None:
    """Move a rule of single networks to where it suits their mean; where it suits it already, return it as it is.

    Of a decision by expected score, it is the estimate of presence that is moved, and with it the thresholds that are
    kept beside it, where these call enough images positive.

    Args:
        rule: Chosen on predictions of single networks.
        networks: The predictions of each network for the same n images, which it was not trained on.
        mean: Those of their mean.

    Returns:
        None where the networks call too few images positive, or no rule comes nearer to as many than the present one.
    """
    target = sum(each.count_positive(rule) for each in networks) / len(networks)
    if target < MIN_POSITIVE:
        return None
    if rule.expected_score is None:
        moved = _move_thresholds(rule, networks, mean, target)
    else:
        beside = transfer(replace(rule, expected_score=None), networks, mean)
        moved = _move_presence(rule, mean, target)
        moved = moved and replace(moved if beside is None else beside, expected_score=moved.expected_score)
    before, after = (abs(mean.count_positive(each) - target) for each in (rule, moved or rule))
    # Where as many have a mask before, it is the size of the masks that the bottom threshold was moved for.
    return moved if after <= before else None


def _move_presence(rule: DecisionRule, mean: UnlabeledPredictions, target: float) -> DecisionRule | None:
    assert rule.expected_score is not None
    found = estimate(rule.expected_score, Features.of(mean.predicted, mean.pixels, mean.presence_probability))
    possible = found.dice > 0
    # P (1 + D) > 1 is log(P / (1 - P)) > -log D, and the former rises with the intercept.
    presence = np.clip(found.presence[possible], CERTAIN, 1 - CERTAIN)
    excess = np.log(presence / (1 - presence)) + np.log(found.dice[possible])
    if not len(excess):
        return None
    intercept = rule.expected_score.presence_intercept - _threshold(excess, target, 0.0)
    moved = replace(rule.expected_score, presence_intercept=round(intercept, DECIMALS))
    return replace(rule, expected_score=moved)


def _move_thresholds(
    rule: DecisionRule, networks: Sequence[UnlabeledPredictions], mean: UnlabeledPredictions, target: float
) -> DecisionRule | None:
    if rule.min_area >= NEVER:
        return None
    # First as many images with the minimum area, whatever their presence probability.
    by_area = replace(rule, presence_threshold=0.0)
    counts = [mean.count_positive(replace(by_area, top_bin=b, bottom_bin=1)) for b in range(1, BINS)]
    if not any(counts):
        return None
    wanted = sum(each.count_positive(by_area) for each in networks) / len(networks)
    top = _nearest_bin([count or np.inf for count in counts], wanted, rule.top_bin)
    moved = replace(rule, top_bin=top, bottom_bin=1)
    if rule.presence_threshold > 0 and np.isfinite(mean.presence_probability).all():
        large = mean.mask_pixels(replace(moved, presence_threshold=0.0)) > 0
        presence = mean.presence_probability[large].astype(np.float64)
        threshold = _threshold(presence, target, rule.presence_threshold)
        moved = replace(moved, presence_threshold=min(max(threshold, 0.0), 1.0))
    positive = mean.count_positive(moved)
    if not positive:
        return None
    # Then masks as large, on average over the positive images.
    area = sum(each.mask_area(rule) for each in networks) / (target * len(networks))
    areas = [mean.mask_area(replace(moved, bottom_bin=b)) / positive for b in range(1, top + 1)]
    return replace(moved, bottom_bin=_nearest_bin(areas, area, rule.bottom_bin))


def _nearest_bin(values: Sequence[float], target: float, before: int) -> int:
    """Return the bin, of those from 1 on, whose value is nearest; of several the nearest to the one before."""
    distance = np.abs(np.array(values) - target)
    ties = 1 + np.flatnonzero(distance == distance.min())
    return int(ties[np.abs(ties - before).argmin()])


def _threshold(values: Floats, count: float, before: float) -> float:
    """Return a threshold that as nearly as possible ``count`` of the values are above.

    It is in the middle between two different values, so that rounding takes none across it: the one before where as
    many are above it, and of two equally near ones the nearer to it.
    """
    levels = np.unique(values)
    # From above all values to below all of them.
    middles = [levels[0] - MARGIN, *((levels[1:] + levels[:-1]) / 2), levels[-1] + MARGIN]
    candidates = [before, *sorted(middles, key=lambda each: abs(each - before))]
    return float(min(candidates, key=lambda each: abs(np.count_nonzero(values > each) - count)))
