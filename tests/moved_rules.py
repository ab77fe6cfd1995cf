"""Rules of the mean of all folds' networks: one that was moved, and one of single networks that can be."""

import numpy as np

from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import SubmissionRule
from pneumo.inference.nested import NestedEstimate, score_subsets


def moved_to(rule: DecisionRule) -> SubmissionRule:
    """Say that a rule was moved to this one, for a mean that calls fewer images positive than its networks do."""
    return SubmissionRule(
        rule=rule.in_probabilities(),
        images=500,
        positive_share_of_networks=0.213,
        positive_share_before=0.173,
        positive_share=0.212,
        enough_positive=True,
    )


def choose_half(histograms: PredictionHistograms) -> NestedEstimate:
    """Choose a rule by which about half of the images are positive."""
    rule = DecisionRule(1, 0.0, 1, float(np.median(histograms.presence_probability)))
    return score_subsets(histograms, histograms.fold.astype(np.int64), [rule, rule], rule)
