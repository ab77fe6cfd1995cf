"""Which images are shown: each once, and the right ones."""

import numpy as np
from report_facts import make_evidence, make_histograms

from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import equivalent_area
from pneumo.inference.threshold_search import NestedEstimate
from pneumo.reporting.report.cases import KINDS, choose, predicted_area

RULE = DecisionRule(128, 0.0, 100)


def nested_of(dice: np.ndarray, predicted: np.ndarray) -> NestedEstimate:
    index = np.zeros(len(dice), np.int64)
    return NestedEstimate(rule_index=index, rules=(RULE,), final=RULE, dice=dice, predicted_positive=predicted)


def test_best_median_worst_and_errors() -> None:
    histograms = make_histograms()
    positive, negative = np.flatnonzero(histograms.positive), np.flatnonzero(~histograms.positive)
    predicted = histograms.positive.copy()
    predicted[positive[:3]] = False
    predicted[negative[:6]] = True
    dice = np.where(histograms.positive == predicted, 1.0, 0.0)
    found = positive[3:]
    dice[found] = np.linspace(0.2, 0.9, len(found))
    chosen = choose(histograms, nested_of(dice, predicted))
    assert list(chosen) == list(KINDS)
    ranked = found[::-1].tolist()
    assert chosen["Best"] == ranked[:4]
    assert chosen["Worst"] == ranked[-4:]
    # Thirteen were found: of the five in between, the first four.
    assert chosen["Median"] == ranked[4:8]
    areas = equivalent_area(histograms.truth, histograms.pixels)
    assert chosen["Misses"] == sorted(positive[:3].tolist(), key=lambda i: -areas[i])
    nested = nested_of(dice, predicted)
    alarms = sorted(negative[:6].tolist(), key=lambda i: -predicted_area(histograms, nested)[i])
    assert chosen["False alarms"] == alarms[:4]


def test_few_lesions_are_shown_once_each() -> None:
    evidence = make_evidence(positives=6)
    chosen = choose(evidence.histograms, evidence.nested)
    shown = [i for indices in chosen.values() for i in indices]
    assert len(set(shown)) == len(shown)
    assert len(chosen["Best"]) <= 4


def test_nothing_found_is_nothing_shown() -> None:
    histograms = make_histograms(positives=0)
    chosen = choose(histograms, nested_of(np.ones(len(histograms)), np.zeros(len(histograms), np.bool_)))
    assert chosen == {kind: [] for kind in KINDS}
