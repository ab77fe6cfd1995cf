"""ROC, precision-recall and reliability of both scores, or of the pixels alone."""

from report_facts import html_of, make_evidence, table_of

from pneumo.inference.calibration import reliability
from pneumo.reporting.report.presence_sections import presence


def test_both_scores_have_curves_areas_and_the_head_its_reliability() -> None:
    evidence = make_evidence()
    section = presence(evidence)
    areas, bins = table_of(section), table_of(section, 1)
    assert [row[0] for row in areas.rows] == ["presence head", "maximum pixel"]
    assert str(areas.rows[0][1]).startswith(f"{evidence.metrics.auc.presence_head:.3f} (")
    assert str(areas.rows[1][1]).startswith(f"{evidence.metrics.auc.max_pixel:.3f} (")
    histograms = evidence.histograms
    diagram = reliability(histograms.positive, histograms.presence_probability.astype(float))
    assert [row[1:3] for row in bins.rows] == [[one.images, one.positives] for one in diagram.bins]
    html = html_of(section)
    assert f"Expected calibration error {100 * diagram.expected_error:.1f} %" in html
    assert html.count("<svg ") == 3
    assert "ROC curves: presence head AUC" in html
    assert "chance 0.333" in html


def test_without_a_presence_head_the_maximum_pixel_is_shown() -> None:
    section = presence(make_evidence(presence_head=False))
    assert [row[0] for row in table_of(section).rows] == ["maximum pixel"]
    assert "Reliability of the maximum pixel" in html_of(section)


def test_images_of_one_kind_have_no_curve() -> None:
    assert "There are no positive images: there is no curve to draw." in html_of(presence(make_evidence(positives=0)))
    assert "There are nothing but positive images" in html_of(presence(make_evidence(positives=48)))
