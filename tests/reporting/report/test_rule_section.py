"""The rule in words, and the maps of the Dice around it."""

from dataclasses import replace

from report_facts import html_of, make_evidence

from pneumo.inference.decision_rule import NEVER
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


def test_without_a_presence_head_there_is_one_map() -> None:
    assert html_of(decision_rule(make_evidence(presence_head=False))).count("<svg ") == 1


def test_a_rule_of_empty_masks_has_no_cross() -> None:
    evidence = make_evidence()
    never = replace(evidence.nested, final=replace(evidence.nested.final, min_area=NEVER))
    html = html_of(decision_rule(replace(evidence, nested=never)))
    assert "every mask is empty" in html
    assert "No rule of the search is better than calling every image empty." in html
    assert "The cross" not in html
