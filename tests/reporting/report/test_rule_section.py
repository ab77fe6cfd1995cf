"""The rule in words, and the maps of the Dice around it."""

from dataclasses import replace

import numpy as np
import pytest
from chart_shapes import cells, marks
from eager_fit import fit_all
from moved_rules import moved_to
from report_facts import html_of, make_evidence, make_histograms, table_of

from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.histograms import dice
from pneumo.inference.landscape import Landscape
from pneumo.inference.metrics import describe_move
from pneumo.inference.rule_choice import choose
from pneumo.reporting.html.chart import Chart
from pneumo.reporting.html.page import Figures
from pneumo.reporting.report import rule_section
from pneumo.reporting.report.facts import Evidence
from pneumo.reporting.report.rule_section import decision_rule


def test_two_maps_with_the_chosen_rule() -> None:
    evidence = make_evidence()
    html = html_of(decision_rule(evidence))
    rule = evidence.nested.final
    assert rule.describe().replace(">", "&gt;") in html
    assert html.count("<svg ") == 2
    assert f"The cross is the chosen rule, at {rule.top_bin / 256:.2f} and {rule.min_area:g}." in html
    assert f"The cross is the chosen rule, at {rule.bottom_bin / 256:.2f} and {rule.presence_threshold:g}." in html
    # The chosen rule is the best of the search, so that no cell of its grid is far above it.
    assert f"to {evidence.metrics.in_sample.dice:.3f}" in html


def test_both_kinds_of_rules_have_their_scores_and_the_reason_for_the_one_that_is_used() -> None:
    histograms = make_histograms()
    nested = choose(histograms)
    metrics = compute_metrics(histograms, nested)
    found, estimates = nested.comparison, nested.estimates
    assert found is not None
    assert estimates is not None
    section = decision_rule(Evidence(histograms=histograms, nested=nested, metrics=metrics, masks={}))
    assert [row[:2] for row in table_of(section).rows] == [
        ["thresholds", f"{found.thresholds.dice:.3f}"],
        ["expected score", f"{found.expected_score.dice:.3f}"],
    ]
    html = html_of(section)
    low, high = found.difference_interval
    assert f"Expected score minus thresholds: {found.difference:+.3f} ({low:+.3f} to {high:+.3f})" in html
    assert f"New images are decided by {found.chosen}" in html
    # By fifths of the 16 positive images, in ascending order of the expected Dice.
    fifths = table_of(section, 1).rows
    assert [row[0] for row in fifths] == [4, 3, 3, 3, 3]
    positive = np.flatnonzero(histograms.positive)
    order = positive[np.argsort(estimates.dice[positive], kind="stable")]
    actual = dice(histograms, estimates.mask_bin)
    assert fifths[0][1:] == [f"{estimates.dice[order[:4]].mean():.3f}", f"{actual[order[:4]].mean():.3f}"]


def test_the_rule_of_the_mean_is_told_apart_from_that_of_single_networks() -> None:
    evidence = make_evidence()
    rule = DecisionRule(70, 1000.0, 50, 0.25)
    moved = moved_to(rule)
    html = html_of(decision_rule(replace(evidence, metrics=replace(evidence.metrics, submission_rule=moved))))
    html = html.replace("&gt;", ">")
    assert f"The rule of single networks: {evidence.nested.final.describe()}. Its in-sample Dice is" in html
    assert f"without their masks: {describe_move(moved)}. The rule for new images: {rule.describe()}." in html
    few = replace(moved, enough_positive=False)
    html = html_of(decision_rule(replace(evidence, metrics=replace(evidence.metrics, submission_rule=few))))
    html = html.replace("&gt;", ">")
    assert f"The rule for new images: {evidence.nested.final.describe()}. Its in-sample Dice is" in html
    assert f"less extreme: {describe_move(few)}." in html
    assert "was found on test images" not in html
    before = html_of(decision_rule(evidence)).replace("&gt;", ">")
    assert f"The rule for new images: {evidence.nested.final.describe()}. Its in-sample" in before
    assert "single networks" not in before


def test_the_maps_of_a_decision_by_expected_score_have_no_cross() -> None:
    evidence = make_evidence()
    by_score = replace(evidence.nested.final, expected_score=fit_all(evidence.histograms))
    html = html_of(decision_rule(replace(evidence, nested=replace(evidence.nested, final=by_score))))
    assert html.count("<svg ") == 2
    assert "The cross is" not in html
    assert "They are of the thresholds, which this run does not use: there is no cross." in html


def test_without_a_presence_head_there_is_one_map() -> None:
    assert html_of(decision_rule(make_evidence(presence_head=False))).count("<svg ") == 1


def test_a_rule_of_empty_masks_has_no_cross() -> None:
    evidence = make_evidence()
    never = replace(evidence.nested, final=replace(evidence.nested.final, min_area=NEVER))
    html = html_of(decision_rule(replace(evidence, nested=never)))
    assert "every mask is empty" in html
    assert "No rule of the search is better than calling every image empty." in html
    assert "The cross" not in html


def test_the_maps_are_drawn_as_planes_with_the_cross_in_the_middle_of_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    # The one high cell of each map is that of the rule: at the left of two areas, the upper one; at the right of two
    # presence thresholds, the lower one.
    above = Landscape(
        x=np.array([0.75, 0.8, 0.85]), y=np.array([0.0, 500.0]), dice=np.array([[0.2, 0.2, 0.2], [0.9, 0.2, 0.2]])
    )
    below = Landscape(x=np.array([0.125, 0.25]), y=np.array([0.4, 0.6]), dice=np.array([[0.1, 0.8], [0.1, 0.1]]))
    monkeypatch.setattr(rule_section, "top_and_area", lambda *_: above)
    monkeypatch.setattr(rule_section, "bottom_and_presence", lambda *_: below)
    evidence = make_evidence()
    rule = DecisionRule(top_bin=192, min_area=500.0, bottom_bin=64, presence_threshold=0.4)
    section = decision_rule(replace(evidence, nested=replace(evidence.nested, final=rule)))
    (figures,) = [block for block in section.blocks if isinstance(block, Figures)]
    charts = [figure.content for figure in figures.items]
    expected = [[0, 0, 1 / 3, 0.5], [0.5, 0.5, 1, 1]]
    for chart, cell in zip(charts, expected, strict=True):
        assert isinstance(chart, Chart)
        assert cells(chart) == [pytest.approx(cell, abs=1e-3)]
        middle = [(cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2]
        assert marks(chart, "ink") == pytest.approx(np.array([middle]), abs=1e-3)
    assert charts[0].description.endswith("from 0.200 to 0.900, which is at 0.75 and 500; chosen 0.75 and 500")
    assert charts[1].description.endswith("from 0.100 to 0.800, which is at 0.25 and 0.4; chosen 0.25 and 0.4")
