"""Which images are shown: each once, and the right ones."""

from dataclasses import replace

import numpy as np
from report_facts import PIXELS, N, make_evidence, make_histograms

from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import BINS, PredictionHistograms, equivalent_area
from pneumo.inference.nested import NestedEstimate, predicted_area
from pneumo.reporting.report.cases import KINDS, choose

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


def made_of(outside: dict[int, dict[int, int]]) -> PredictionHistograms:
    """Images without a lesion, of which some have so many pixels in bins other than the lowest."""
    counts = np.zeros((N, BINS), np.int32)
    for i, bins in outside.items():
        for one, number in bins.items():
            counts[i, one] = number
    counts[:, 0] = PIXELS - counts.sum(axis=1)
    return replace(make_histograms(positives=0), inside=np.zeros((N, BINS), np.int32), outside=counts)


def test_an_area_is_that_of_the_pixels_from_its_own_rule_s_bottom_threshold_on() -> None:
    histograms = made_of({0: {40: 7, 100: 5, 200: 3}, 1: {40: 7, 100: 5, 200: 3}, 2: {63: 9, 64: 2}})
    rules = (DecisionRule(64, 0.0, 64), DecisionRule(150, 0.0, 150))
    index = np.zeros(N, np.int64)
    index[1] = 1
    nested = NestedEstimate(
        rule_index=index, rules=rules, final=RULE, dice=np.zeros(N), predicted_positive=np.zeros(N, np.bool_)
    )
    # 4096 pixels are a 256th of 1024 x 1024.
    assert predicted_area(histograms, nested).tolist() == [(5 + 3) * 256, 3 * 256, 2 * 256, *[0] * (N - 3)]


def test_false_alarms_are_the_largest_first() -> None:
    sizes = {3: 10, 5: 40, 8: 20, 13: 50, 21: 30, 34: 60}
    histograms = made_of({i: {200: size} for i, size in sizes.items()})
    alarms = np.isin(np.arange(N), [3, 5, 8, 13, 21])
    # The largest of all, 34, was not called positive.
    assert choose(histograms, nested_of(np.zeros(N), alarms))["False alarms"] == [13, 5, 21, 8]


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
