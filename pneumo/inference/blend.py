"""The decision rule and the weights of several runs' mean."""

from collections.abc import Sequence

import numpy as np

from pneumo.inference.decision_rule import DecisionRule


def normalize_weights(count: int, weights: Sequence[float]) -> list[float]:
    """Scale the weights of ``count`` runs, each above 0, to a sum of 1; without weights, all are equal."""
    weights = weights or [1.0] * count
    assert len(weights) == count
    return [weight / sum(weights) for weight in weights]


def blend_rules(rules: Sequence[DecisionRule], weights: Sequence[float]) -> DecisionRule:
    """Return the weighted mean of the runs' decision rules, as the 1st place blended its experiments'.

    Histograms of different runs cannot be averaged image by image (they do not keep where a pixel is), so no rule can
    be searched for on the runs' mean. Means of probabilities have fewer extreme values than what they are means of, so
    the blended rule is an approximation. For a single run it is that run's own rule.

    Args:
        rules: The rule of each run.
        weights: The weight of each run; they sum to 1.
    """
    top, area, bottom, presence = np.average(
        [[r.top_bin, r.min_area, r.bottom_bin, r.presence_threshold] for r in rules],
        axis=0,
        weights=weights,
    )
    return DecisionRule(round(top), float(area), min(round(bottom), round(top)), float(presence))
