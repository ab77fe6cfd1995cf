"""The decision rule and the weights of several runs' mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.runtime.errors import UserError


def normalize_weights(count: int, weights: Sequence[float]) -> list[float]:
    """Scale the weights of ``count`` runs, each above 0, to a sum of 1; without weights, all are equal."""
    weights = weights or [1.0] * count
    assert len(weights) == count
    return [weight / sum(weights) for weight in weights]


@dataclass(frozen=True)
class RunRule:
    """The decision rule of one run of a blend."""

    run: str
    """Its directory, for messages."""
    rule: DecisionRule
    has_presence_head: bool
    """Without one the rule has no presence threshold."""


def blend_rules(rules: Sequence[RunRule], weights: Sequence[float]) -> DecisionRule:
    """Return the weighted mean of the runs' decision rules, as the 1st place blended its experiments'.

    The presence threshold is the mean over the runs with a presence head, as the blend's presence probability is. A
    mean of probabilities has fewer extreme values than each of them has, so this rule is an approximation: it is too
    strict where the runs disagree. Of runs that decide by expected score it is the mean of the thresholds beside it: no
    mean of their estimates is known to be one. For a single run it is that run's own rule.

    Args:
        rules: The rule of each run.
        weights: The weight of each run; they sum to 1.

    Raises:
        UserError: When a run's thresholds call every image empty: they cannot be averaged.
    """
    if len(rules) == 1:
        return rules[0].rule
    for each in rules:
        if each.rule.min_area >= NEVER:
            found = f"the decision rule of {each.run} calls every image empty"
            if each.rule.expected_score is not None:
                found = f"{each.run} decides by expected score, and the thresholds beside it call every image empty"
            raise UserError(
                found,
                "rules with thresholds, whose mean can be taken",
                "leave this run out, or take --rule auto, which searches a rule on the mean",
            )
    top, area, bottom = np.average(
        [[each.rule.top_bin, each.rule.min_area, each.rule.bottom_bin] for each in rules], axis=0, weights=weights
    )
    headed = [
        (each.rule.presence_threshold, w) for each, w in zip(rules, weights, strict=True) if each.has_presence_head
    ]
    total = sum(weight for _, weight in headed)
    presence = sum(threshold * weight for threshold, weight in headed) / total if headed else 0.0
    return DecisionRule(round(top), float(area), min(round(bottom), round(top)), min(presence, 1.0))
