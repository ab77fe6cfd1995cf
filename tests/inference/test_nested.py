from dataclasses import replace

import numpy as np
import pytest
from random_maps import Maps, draw_maps

from pneumo.inference.decision_rule import DecisionRule, predict_presence, score_images
from pneumo.inference.nested import assign_subsets, predicted_area, score_subsets
from pneumo.runtime.errors import UserError

RULES = (DecisionRule(60, 0.0, 40), DecisionRule(200, 3000.0, 120, 0.5), DecisionRule(120, 500.0, 100))
FINAL = DecisionRule(77, 100.0, 66)


def test_each_fold_is_scored_by_its_own_rule(maps: Maps) -> None:
    histograms = maps.histograms
    found = score_subsets(histograms, assign_subsets(histograms), RULES, FINAL)
    assert found.rule_index.tolist() == histograms.fold.tolist()
    assert (found.rules, found.final) == (RULES, FINAL)
    areas = predicted_area(histograms, found)
    for fold, rule in enumerate(RULES):
        mine = histograms.fold == fold
        own = histograms.select(mine)
        assert found.dice[mine].tolist() == score_images(own, rule).tolist()
        assert found.predicted_positive[mine].tolist() == predict_presence(own, rule).tolist()
        pixels = own.predicted[:, rule.bottom_bin] * (1 << 20) / own.pixels
        assert areas[mine].tolist() == (pixels * predict_presence(own, rule)).tolist()
    assert len({tuple(score_images(histograms, rule).tolist()) for rule in RULES}) == 3, "the rules are alike"


def test_a_mask_that_loses_all_its_components_is_a_negative_answer() -> None:
    """By the same rules, which decide by the map as it is."""
    with_all, large = (draw_maps(min_component=limit).histograms for limit in (0.0, 30_000.0))
    first, second = (score_subsets(one, assign_subsets(one), RULES, FINAL) for one in (with_all, large))
    emptied = first.predicted_positive & ~second.predicted_positive
    assert emptied.any()
    assert second.predicted_positive.any()
    assert second.dice[emptied].tolist() == (~large.positive[emptied]).astype(float).tolist()
    assert (predicted_area(large, second) > 0).tolist() == second.predicted_positive.tolist()
    assert (predicted_area(large, second) <= predicted_area(with_all, first)).all()


def test_two_folds_are_not_divided_anew(maps: Maps) -> None:
    two = maps.histograms.select(maps.histograms.fold != 2)
    assert assign_subsets(two).tolist() == two.fold.tolist()


def test_one_fold_is_divided_by_patients(maps: Maps) -> None:
    one = maps.histograms.select(maps.histograms.fold == 1)
    subset = assign_subsets(one)
    assert set(subset.tolist()) == {0, 1}
    for patient in np.unique(one.patient):
        assert len(set(subset[one.patient == patient].tolist())) == 1
    single = one.select(one.patient == one.patient[0])
    assert sorted(assign_subsets(single).tolist()) == [0, 1]


def test_images_of_unknown_patients_are_divided_one_by_one(maps: Maps) -> None:
    one = maps.histograms.select(maps.histograms.fold == 1)
    unknown = replace(one, patient=np.full(len(one), -1, np.int32))
    assert np.bincount(assign_subsets(unknown)).tolist() == [len(one) // 2] * 2


def test_one_image_is_too_few(maps: Maps) -> None:
    with pytest.raises(UserError, match="of 1 image; expected at least two"):
        assign_subsets(maps.histograms.select(np.array([0])))
