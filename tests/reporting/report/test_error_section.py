"""How often images are decided wrongly, in words and in the table of false alarms."""

from dataclasses import replace

import numpy as np
from report_facts import html_of, make_evidence, make_histograms, table_of

from pneumo.inference.errors_by_group import OTHER_IMAGES, false_alarms_by_other_images
from pneumo.reporting.html.page import Table
from pneumo.reporting.report.error_section import describe_others, errors
from pneumo.reporting.report.facts import Evidence


def with_errors() -> Evidence:
    """Four of the 16 lesions missed, and eight of 32 alarms false."""
    evidence = make_evidence()
    positive = evidence.histograms.positive
    predicted = positive.copy()
    predicted[np.flatnonzero(positive)[:4]] = False
    predicted[np.flatnonzero(~positive)[:8]] = True
    return replace(evidence, nested=replace(evidence.nested, predicted_positive=predicted))


def test_misses_and_false_alarms_have_their_shares_and_intervals() -> None:
    html = html_of(errors(with_errors(), {}))
    assert "Images with a pneumothorax that were left empty: 4 of 16, 25.0 % (" in html
    assert "Images without one that were called positive: 8 of 32, 25.0 % (" in html
    assert "The dataset has no label of them." in html


def test_false_alarms_are_shown_by_the_other_images_of_the_patients() -> None:
    evidence = with_errors()
    groups = false_alarms_by_other_images(evidence.histograms, evidence.nested)
    rows = table_of(errors(evidence, {})).rows
    # Two images of each patient.
    assert [row[0] for row in rows] == list(OTHER_IMAGES[:2])
    assert [row[1:4] for row in rows] == [[one.images, one.patients, one.count] for one in groups.values()]
    assert sum(int(row[3]) for row in rows) == 8
    one = groups[OTHER_IMAGES[0]]
    assert rows[0][4] == f"{100 * one.share:.1f} % ({100 * one.interval[0]:.1f} % to {100 * one.interval[1]:.1f} %)"


def test_images_of_one_kind_have_the_errors_of_that_kind_alone() -> None:
    section = errors(make_evidence(positives=48), {})
    assert "Images without one" not in html_of(section)
    assert not [block for block in section.blocks if isinstance(block, Table)]
    assert make_histograms(positives=48).positive.all()


def test_errors_are_compared_with_and_without_a_drain_where_somebody_has_looked() -> None:
    evidence = with_errors()
    ids, positive = evidence.histograms.image_id, evidence.histograms.positive
    # Of the eight false alarms six show a drain, of as many images rightly left empty two.
    negatives = ids[~positive].tolist()
    drains = {one: n < 6 or n in (8, 9) for n, one in enumerate(negatives[:16])} | {"of another dataset": True}
    section = errors(evidence, drains)
    assert [(row[0], row[1], row[3], str(row[4])[:6]) for row in table_of(section, 1).rows] == [
        ("false alarm", 8, 6, "75.0 %"),
        ("rightly left empty", 8, 2, "25.0 %"),
    ]
    assert "Notes on drains were given" in html_of(section)
    assert "is not known" not in html_of(section)
    with_lesion = table_of(errors(evidence, {str(ids[positive][0]): False}), 1).rows
    assert [row[:4] for row in with_lesion] == [["missed pneumothorax", 1, 1, 0]]
    assert "How many false alarms show a drain is not known." in html_of(errors(evidence, {}))


def test_notes_on_no_image_are_counted() -> None:
    evidence = with_errors()
    known = {str(evidence.histograms.image_id[0]): True}
    assert "of no image" not in html_of(errors(evidence, known))
    html = html_of(errors(evidence, known | {"other": True}))
    assert "1 note on drains of no image that is scored: not counted here." in html
    assert "other" not in html.split("1 note on drains")[1].split("</p>")[0]
    assert len([block for block in errors(evidence, known | {"other": True}).blocks if isinstance(block, Table)]) == 2
    others = errors(evidence, {f"other-{n}": n > 3 for n in range(7)})
    assert "7 notes on drains of no image" in html_of(others)
    assert describe_others([f"other-{n}" for n in range(7)]) == (
        "Notes on drains of no image that is scored: 7 (other-0, other-1, other-2, other-3, other-4, ...)"
    )
    assert len([block for block in others.blocks if isinstance(block, Table)]) == 1
