"""The nested estimate by thresholds alone: each fold by the rule that is searched for on the other folds."""

from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.nested import NestedEstimate, assign_subsets, score_subsets
from pneumo.inference.threshold_search import search


def nested_estimate(histograms: PredictionHistograms) -> NestedEstimate:
    subset = assign_subsets(histograms)
    rules = [search(histograms.select(subset != k)) for k in range(int(subset.max()) + 1)]
    return score_subsets(histograms, subset, rules, search(histograms))
