"""Tests of pneumo.inference.metrics."""

import json

import numpy as np
import pytest

from pneumo.inference import decision_rule
from pneumo.inference.histograms import quantize
from pneumo.inference.metrics import auc, compute_metrics, describe, summarise
from pneumo.masks import rle


@pytest.fixture(scope="module")
def figures(maps):
    return compute_metrics(maps.evidence)


def plain_auc(positive: np.ndarray, value: np.ndarray) -> float:
    pairs = value[positive][:, None] - value[~positive][None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_nested_figures_are_those_of_the_masks_that_the_nested_rules_write(maps, figures):
    evidence, result = maps.evidence, decision_rule.nested_estimate(maps.evidence)
    dice, called = [], []
    for i, (p, g) in enumerate(zip(maps.probability, maps.truth, strict=True)):
        written = decision_rule.apply_rule(quantize(p), result.rules[evidence.fold[i]], float(maps.head[i]))
        m = rle.decode(rle.encode(written), *g.shape).astype(bool)
        dice.append(2 * (m & g).sum() / (m.sum() + g.sum()) if m.any() or g.any() else 1.0)
        called.append(m.any())
    dice, called, positive = np.array(dice), np.array(called), evidence.positive
    assert figures["nested"]["dice"] == pytest.approx(dice.mean(), abs=1e-12)
    assert figures["nested"]["dice_empty"] == pytest.approx(dice[~positive].mean(), abs=1e-12)
    assert figures["nested"]["dice_positive"] == pytest.approx(dice[positive].mean(), abs=1e-12)
    assert figures["nested"]["sensitivity"] == called[positive].mean()
    assert figures["nested"]["specificity"] == 1 - called[~positive].mean()
    assert figures["gain"] == pytest.approx(dice.mean() - (~positive).mean(), abs=1e-12)


def test_figures_agree_with_one_another(maps, figures):
    folds, positive = figures["folds"], maps.evidence.positive
    assert [fold["fold"] for fold in folds] == [0, 1, 2]
    assert sum(fold["images"] for fold in folds) == figures["images"] == len(maps.evidence)
    assert sum(fold["positives"] for fold in folds) == figures["positives"] == positive.sum()
    mean = sum(fold["dice"] * fold["images"] for fold in folds) / figures["images"]
    assert mean == pytest.approx(figures["nested"]["dice"])
    assert figures["in_sample"]["dice"] >= figures["nested"]["dice"]
    assert figures["all_empty"] == (~positive).mean()
    assert figures["patients"] == 15
    for value, (low, high) in (
        (figures["nested"]["dice"], figures["nested"]["dice_interval"]),
        (figures["gain"], figures["gain_interval"]),
    ):
        assert low < value < high


def test_auc_counts_pairs_with_half_for_ties(maps, maps_without_head):
    found = auc(maps.evidence)
    assert found["head"] == pytest.approx(plain_auc(maps.evidence.positive, maps.head))
    highest = np.array([quantize(p).max() for p in maps.probability], float)
    assert found["highest_pixel"] == pytest.approx(plain_auc(maps.evidence.positive, highest))
    assert auc(maps_without_head.evidence)["head"] is None


def test_figures_are_json_even_where_they_are_undefined(maps):
    negatives = maps.evidence.select(~maps.evidence.positive)
    figures = compute_metrics(negatives)
    assert figures["nested"]["dice_positive"] is None
    assert figures["nested"]["sensitivity"] is None
    assert figures["auc"] == {"head": None, "highest_pixel": None}
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert " - " in describe(figures).replace("\n", " ")


def test_table_shows_folds_estimates_and_the_rule(figures):
    lines = describe(figures).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["fold"] * 3
    assert lines[4].startswith("nested ")
    assert lines[5].startswith("in-sample ")
    assert len({len(line) for line in lines[:6]}) == 1
    assert "every image empty" in lines[6]
    assert "positive from" in lines[-1]
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_summary_of_a_case_done_by_hand():
    positive = np.array([True, True, False, False])
    found = summarise(positive, np.array([0.5, 0.0, 1.0, 0.0]), np.array([True, False, False, True]))
    assert found == {"dice": 0.375, "dice_empty": 0.5, "dice_positive": 0.25, "sensitivity": 0.5, "specificity": 0.5}
