"""ROC, precision-recall and reliability of both scores, or of the pixels alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from report_facts import html_of, make_evidence, make_histograms, table_of

from pneumo.inference.calibration import reliability
from pneumo.inference.rule_choice import choose
from pneumo.reporting.report.facts import Evidence
from pneumo.reporting.report.presence_sections import CALIBRATED, presence


def test_both_scores_have_curves_areas_and_the_head_its_reliability() -> None:
    evidence = make_evidence()
    section = presence(evidence)
    areas, bins = table_of(section), table_of(section, 1)
    assert [row[0] for row in areas.rows] == ["presence head", "highest pixel"]
    assert str(areas.rows[0][1]).startswith(f"{evidence.metrics.auc.presence_head:.3f} (")
    assert str(areas.rows[1][1]).startswith(f"{evidence.metrics.auc.max_pixel:.3f} (")
    histograms = evidence.histograms
    diagram = reliability(histograms.positive, histograms.presence_probability.astype(float))
    assert [row[1:3] for row in bins.rows] == [[one.images, one.positives] for one in diagram.bins]
    html = html_of(section)
    error = f"Presence head: expected calibration error {100 * diagram.expected_error:.1f} %"
    assert f"{error}, Brier score {diagram.brier:.4f}." in html
    assert html.count("<svg ") == 3
    assert "ROC curves: presence head AUC" in html
    assert "chance 0.333" in html


def test_the_estimate_of_the_decision_by_expected_score_has_its_reliability_beside_the_head_s(
    drawn: list[SimpleNamespace],
) -> None:
    evidence = make_evidence()
    nested = choose(evidence.histograms)
    assert nested.estimates is not None
    section = presence(replace(evidence, nested=nested))
    found = series_of(drawn[2])
    assert list(found) == ["presence head", CALIBRATED, "ideal"]
    diagram = reliability(evidence.histograms.positive, nested.estimates.presence)
    points = [(round(one.mean_probability, 6), round(one.observed, 6)) for one in diagram.bins]
    assert found[CALIBRATED] == points
    assert [row[1] for row in table_of(section, 2).rows] == [one.images for one in diagram.bins]


def four_images() -> Evidence:
    """Two images with a pneumothorax, scored .95 and .35, and two without one, .75 and .35; nested rules' scores."""
    histograms = make_histograms()
    order = np.r_[np.flatnonzero(histograms.positive)[:2], np.flatnonzero(~histograms.positive)[:2]]
    scores = np.array([0.95, 0.35, 0.75, 0.35], np.float32)
    evidence = make_evidence()
    nested = replace(evidence.metrics.nested, sensitivity=0.8, specificity=0.9)
    return replace(
        evidence,
        histograms=replace(histograms.select(order), presence_probability=scores, patient=np.arange(4, dtype=np.int32)),
        metrics=replace(evidence.metrics, nested=nested),
    )


def series_of(chart: SimpleNamespace) -> dict[str, list[tuple[float, float]]]:
    return {
        one.name: [(round(float(x), 6), round(float(y), 6)) for x, y in zip(one.x, one.y, strict=True)]
        for one in chart.series
    }


def test_the_curves_of_four_images_are_those_counted_by_hand(drawn: list[SimpleNamespace]) -> None:
    presence(four_images())
    roc, precision_recall, diagram = drawn
    assert (roc.x_label, roc.y_label) == ("1 - specificity", "sensitivity")
    found = series_of(roc)
    # From .95 on one of two positive images and no other; from .75 on one of each kind; from .35 on all.
    assert found["presence head"] == [(0, 0), (0, 0.5), (0.5, 0.5), (1, 1)]
    assert found["chance"] == [(0, 0), (1, 1)]
    assert found["nested rules"] == [(0.1, 0.8)]
    assert roc.description.endswith("; nested rules: sensitivity 0.800, specificity 0.900")
    assert (precision_recall.x_label, precision_recall.y_label) == ("recall (sensitivity)", "precision")
    found = series_of(precision_recall)
    # The same thresholds: of one image called positive one is, of two one, of four two.
    assert found["presence head"] == [(0, 1), (0.5, 1), (0.5, 0.5), (1, 0.5)]
    assert found["chance"] == [(0, 0.5), (1, 0.5)]
    assert (diagram.x_label, diagram.y_label) == ("mean probability", "share of positive images")
    found = series_of(diagram)
    # One of the two images at .35 is positive, that at .75 is not, and that at .95 is.
    assert found["presence head"] == [(0.35, 0.5), (0.75, 0), (0.95, 1)]
    assert found["ideal"] == [(0, 0), (1, 1)]
    assert {(*one.x_limits, *one.y_limits) for one in drawn} == {(0, 1, 0, 1)}


def test_the_point_of_the_roc_curve_is_said_to_be_of_the_nested_rules() -> None:
    html = html_of(presence(four_images()))
    assert ">nested rules</text>" in html
    assert "The point is that of the nested rules, which were chosen on other images" in html


@pytest.mark.parametrize("missing", ["sensitivity", "specificity"])
def test_without_both_rates_there_is_no_point(drawn: list[SimpleNamespace], missing: str) -> None:
    evidence = four_images()
    nested = replace(evidence.metrics.nested, **{missing: None})
    presence(replace(evidence, metrics=replace(evidence.metrics, nested=nested)))
    assert "nested rules" not in series_of(drawn[0])


def test_without_a_presence_head_the_maximum_pixel_is_shown() -> None:
    section = presence(make_evidence(presence_head=False))
    assert [row[0] for row in table_of(section).rows] == ["highest pixel"]
    assert "Reliability of the highest pixel" in html_of(section)


def test_images_of_one_kind_have_no_curve() -> None:
    assert "There are no positive images: there is no curve to draw." in html_of(presence(make_evidence(positives=0)))
    assert "There are nothing but positive images" in html_of(presence(make_evidence(positives=48)))
