import pytest

from pneumo.inference.blend import blend_rules, normalize_weights
from pneumo.inference.decision_rule import DecisionRule

RULE = DecisionRule(top_bin=120, min_area=1.0, bottom_bin=100, presence_threshold=0.0)


def test_a_single_run_keeps_its_rule() -> None:
    assert blend_rules([RULE], [1.0]) == RULE


def test_rules_are_blended_by_the_weights() -> None:
    mixed = blend_rules([DecisionRule(200, 1000, 80, 0.5), DecisionRule(100, 2000, 100, 0.1)], [0.75, 0.25])
    assert (mixed.top_bin, mixed.min_area, mixed.bottom_bin) == (175, 1250, 85)
    assert mixed.presence_threshold == pytest.approx(0.4)


def test_rounding_never_puts_the_bottom_threshold_above_the_top_one() -> None:
    mixed = blend_rules([DecisionRule(3, 0, 3), DecisionRule(4, 0, 4)], [0.5, 0.5])
    assert mixed.bottom_bin <= mixed.top_bin


def test_weights_are_scaled_to_a_sum_of_one() -> None:
    assert normalize_weights(4, ()) == [0.25] * 4
    assert normalize_weights(2, (3.0, 1.0)) == [0.75, 0.25]
