"""The Dice beside the baseline, and a clear word where it is below that of empty masks."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from report_facts import PIXELS, N, html_of, make_evidence, make_histograms, table_of
from sklearn.metrics import roc_auc_score

from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import BINS
from pneumo.inference.metrics import Metrics
from pneumo.reporting.report import score_sections


def with_difference(over: float, low: float, high: float) -> Metrics:
    return replace(make_evidence().metrics, dice_over_empty=over, dice_over_empty_interval=(low, high))


@pytest.mark.parametrize(
    ("over", "low", "high", "kind", "words"),
    [
        (0.2, 0.1, 0.3, "Good", r"Better than empty masks\. .* a difference of \+0\.200 \(\+0\.100 to \+0\.300\)\."),
        (0.2, -0.1, 0.3, "Warning", r"Not clearly better than empty masks\."),
        (-0.01, -0.1, 0.3, "Warning", r"Worse than empty masks\. .* Do not use these networks for predictions\."),
    ],
)
def test_the_verdict(over: float, low: float, high: float, kind: str, words: str) -> None:
    notice = score_sections.verdict(replace(make_evidence(), metrics=with_difference(over, low, high)))
    assert notice.kind == kind
    assert re.match(words, str(notice.text))


def test_predictions_of_the_opposite_are_worse_than_empty_masks() -> None:
    notice = score_sections.verdict(make_evidence(good=False))
    assert notice.kind == "Warning"


def test_nested_in_sample_and_baseline_have_their_figures_and_intervals() -> None:
    evidence = make_evidence()
    section = score_sections.scores(evidence)
    rows = {row[0]: row[1:] for row in table_of(section).rows}
    assert list(rows) == ["nested", "in-sample", "baseline"]
    metrics = evidence.metrics
    low, high = metrics.nested.dice_interval
    assert rows["nested"][0] == f"{metrics.nested.dice:.3f} ({low:.3f} to {high:.3f})"
    assert str(rows["in-sample"][0]).startswith(f"{metrics.in_sample.dice:.3f} (")
    assert str(rows["baseline"][0]).startswith(f"{1 - 16 / 48:.3f} (")
    assert rows["baseline"][1:] == ["0.000", "1.000", "0.000", "1.000"]
    html = html_of(section)
    assert "Mean Dice with 95 % intervals: nested" in html
    assert "bootstrap over patients, 2,000 resamples" in html


def test_each_interval_is_of_its_own_dice(drawn: list[SimpleNamespace]) -> None:
    # Every image is positive, and of its 100 pixels the final rule finds 50 and no other: Dice 100 / 150, whichever
    # patients are drawn. The nested rules found nothing of half of the images.
    inside, outside = np.zeros((2, N, BINS), np.int32)
    inside[:, 200] = inside[:, 5] = 50
    outside[:, 2] = PIXELS - 100
    histograms = replace(make_histograms(), positive=np.ones(N, np.bool_), inside=inside, outside=outside)
    evidence = make_evidence()
    nested = replace(evidence.metrics.nested, dice=0.25, dice_interval=(0.125, 0.375))
    in_sample = replace(evidence.metrics.in_sample, dice=2 / 3)
    section = score_sections.scores(
        replace(
            evidence,
            histograms=histograms,
            nested=replace(
                evidence.nested,
                final=DecisionRule(top_bin=128, min_area=0.0, bottom_bin=64),
                dice=np.tile([0.0, 0.5], N // 2),
            ),
            metrics=replace(evidence.metrics, nested=nested, in_sample=in_sample, dice_all_empty=0.0),
        )
    )
    assert {row[0]: row[1] for row in table_of(section).rows} == {
        "nested": "0.250 (0.125 to 0.375)",
        "in-sample": "0.667 (0.667 to 0.667)",
        "baseline": "0.000 (0.000 to 0.000)",
    }
    (chart,) = drawn
    assert [(one.name, *np.round([one.value, one.low, one.high], 3)) for one in chart.estimates] == [
        ("nested", 0.25, 0.125, 0.375),
        ("in-sample", 0.667, 0.667, 0.667),
        ("baseline", 0.0, 0.0, 0.0),
    ]


def test_without_a_positive_image_what_is_undefined_is_a_dash() -> None:
    section = score_sections.scores(make_evidence(positives=0))
    rows = {row[0]: row[1:] for row in table_of(section).rows}
    assert rows["baseline"] == ["1.000 (1.000 to 1.000)", "-", "1.000", "-", "1.000"]


def test_each_fold_has_its_column() -> None:
    evidence = make_evidence()
    table = table_of(score_sections.folds(evidence))
    assert [str(one.title) for one in table.columns] == ["", "fold 0", "fold 1", "fold 2"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == [
        *("images", "positive", "baseline", "nested Dice", "positive Dice", "empty Dice", "sensitivity"),
        *("specificity", "AUC, head", "AUC, pixel"),
    ]
    histograms, nested = evidence.histograms, evidence.nested
    for k in range(3):
        own = histograms.fold == k
        positive, called, dice = histograms.positive[own], nested.predicted_positive[own], nested.dice[own]
        presence = histograms.presence_probability[own]
        expected = {
            "baseline": 1 - positive.sum() / own.sum(),
            "nested Dice": dice.mean(),
            "positive Dice": dice[positive].mean(),
            "empty Dice": dice[~positive].mean(),
            "sensitivity": called[positive].sum() / positive.sum(),
            "specificity": 1 - called[~positive].sum() / (~positive).sum(),
            "AUC, head": roc_auc_score(positive, presence),
            "AUC, pixel": roc_auc_score(positive, histograms.max_bin[own]),
        }
        assert (rows["images"][k], rows["positive"][k]) == (own.sum(), positive.sum())
        assert {name: rows[name][k] for name in expected} == {name: f"{value:.3f}" for name, value in expected.items()}
