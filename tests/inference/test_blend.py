from dataclasses import replace

import pytest
from known_scores import make_model

from pneumo.inference.blend import RunRule, blend_rules, normalize_weights
from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.runtime.errors import UserError


def headed(rule: DecisionRule, name: str = "runs/a") -> RunRule:
    return RunRule(name, rule, has_presence_head=True)


def headless(rule: DecisionRule, name: str = "runs/b") -> RunRule:
    return RunRule(name, rule, has_presence_head=False)


def test_of_decisions_by_expected_score_the_thresholds_beside_them_are_averaged() -> None:
    rules = DecisionRule(200, 1000, 80), DecisionRule(100, 2000, 100)
    by_score = [replace(rule, expected_score=make_model()) for rule in rules]
    mixed = blend_rules([headed(rule) for rule in by_score], [0.5, 0.5])
    assert mixed == DecisionRule(150, 1500.0, 90)
    assert blend_rules([headed(by_score[0])], [1.0]) == by_score[0]


@pytest.mark.parametrize(
    "rule", [DecisionRule(120, 1.0, 100, 0.0), DecisionRule(1, 0.0, 1, 1.0), DecisionRule(9, NEVER, 9)]
)
def test_a_single_run_keeps_its_rule(rule: DecisionRule) -> None:
    assert blend_rules([headed(rule)], [1.0]) == rule
    assert blend_rules([headless(rule)], [1.0]) == rule


def test_rules_are_blended_by_the_weights() -> None:
    rules = [headed(DecisionRule(200, 1000, 80, 0.5)), headed(DecisionRule(100, 2000, 100, 0.1))]
    mixed = blend_rules(rules, [0.75, 0.25])
    assert (mixed.top_bin, mixed.min_area, mixed.bottom_bin) == (175, 1250, 85)
    assert mixed.presence_threshold == pytest.approx(0.4)


def test_a_run_without_a_presence_head_leaves_the_presence_threshold_as_it_is() -> None:
    """Its presence threshold of 0 means that there is none; the blend's presence probability is the others' mean."""
    rules = [headed(DecisionRule(200, 1000, 80, 0.5)), headless(DecisionRule(100, 2000, 100, 0.0))]
    mixed = blend_rules(rules, [0.25, 0.75])
    assert mixed.presence_threshold == 0.5
    assert (mixed.top_bin, mixed.min_area, mixed.bottom_bin) == (125, 1750, 95)
    three = blend_rules([*rules, headed(DecisionRule(100, 2000, 100, 0.2))], [0.2, 0.5, 0.3])
    assert three.presence_threshold == pytest.approx((0.2 * 0.5 + 0.3 * 0.2) / 0.5)
    assert blend_rules([headless(DecisionRule(9, 0, 9))] * 2, [0.5, 0.5]).presence_threshold == 0.0


def test_a_run_that_calls_every_image_empty_is_refused_by_name() -> None:
    rules = [headed(DecisionRule(200, 1000, 80, 0.5)), headed(DecisionRule(128, NEVER, 128), "runs/empty")]
    with pytest.raises(
        UserError, match=r"rule of runs/empty calls every image empty; .*leave this run out, or take --rule auto"
    ):
        blend_rules(rules, [0.5, 0.5])


def test_a_run_by_expected_score_whose_thresholds_say_never_is_refused_for_its_thresholds() -> None:
    by_score = DecisionRule(128, NEVER, 128, expected_score=make_model())
    rules = [headed(DecisionRule(200, 1000, 80, 0.5)), headed(by_score, "runs/score")]
    reason = "runs/score decides by expected score, and the thresholds beside it call every image empty; expected"
    with pytest.raises(UserError, match=f"^{reason}"):
        blend_rules(rules, [0.5, 0.5])


def test_rounding_never_puts_the_bottom_threshold_above_the_top_one() -> None:
    mixed = blend_rules([headed(DecisionRule(3, 0, 3)), headed(DecisionRule(4, 0, 4))], [0.5, 0.5])
    assert mixed.bottom_bin <= mixed.top_bin


def test_weights_are_scaled_to_a_sum_of_one() -> None:
    assert normalize_weights(4, ()) == [0.25] * 4
    assert normalize_weights(2, (3.0, 1.0)) == [0.75, 0.25]
