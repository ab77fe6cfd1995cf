"""Metrics against those of the masks that the rules write."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_histograms import apply_rule, quantize
from plain_nested import nested_estimate
from plain_rules import example, to_histograms

from pneumo.inference.decision_rule import DecisionRule, score_images
from pneumo.inference.evaluation import auc, compute_metrics, score_by_fold_rules, validation_metrics
from pneumo.inference.metrics import Auc, Metrics, describe
from pneumo.masks import rle
from pneumo.runtime.config import from_json


@pytest.fixture(scope="module")
def metrics(maps):
    return compute_metrics(maps.histograms)


def json_and_back(metrics: Metrics) -> Metrics:
    return from_json(Metrics, json.loads(json.dumps(asdict(metrics), allow_nan=False)), "metrics.json")


def plain_auc(positive: np.ndarray, value: np.ndarray) -> float:
    pairs = value[positive][:, None] - value[~positive][None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_nested_metrics_are_those_of_the_masks_that_the_nested_rules_write(maps):
    histograms, result = maps.histograms, nested_estimate(maps.histograms)
    metrics = compute_metrics(histograms, result)
    dice, predicted_positive = [], []
    for i, (p, g) in enumerate(zip(maps.probability, maps.truth, strict=True)):
        written = apply_rule(quantize(p), result.rules[histograms.fold[i]], float(maps.presence_probability[i]))
        m = rle.decode(rle.encode(written), *g.shape).astype(bool)
        dice.append(2 * (m & g).sum() / (m.sum() + g.sum()) if m.any() or g.any() else 1.0)
        predicted_positive.append(m.any())
    dice, predicted_positive, positive = np.array(dice), np.array(predicted_positive), histograms.positive
    assert metrics.nested.dice == pytest.approx(dice.mean(), abs=1e-12)
    assert metrics.nested.dice_empty == pytest.approx(dice[~positive].mean(), abs=1e-12)
    assert metrics.nested.dice_positive == pytest.approx(dice[positive].mean(), abs=1e-12)
    assert metrics.nested.sensitivity == predicted_positive[positive].mean()
    assert metrics.nested.specificity == 1 - predicted_positive[~positive].mean()
    assert metrics.dice_over_empty == pytest.approx(dice.mean() - (~positive).mean(), abs=1e-12)


def test_metrics_agree_with_one_another(maps, metrics):
    folds, positive = metrics.folds, maps.histograms.positive
    assert [fold.fold for fold in folds] == [0, 1, 2]
    assert sum(fold.images for fold in folds) == metrics.images == len(maps.histograms)
    assert sum(fold.positives for fold in folds) == metrics.positives == positive.sum()
    assert all(fold.dice_all_empty == pytest.approx(1 - fold.positives / fold.images) for fold in folds)
    mean = sum(fold.dice * fold.images for fold in folds) / metrics.images
    assert mean == pytest.approx(metrics.nested.dice)
    assert metrics.in_sample.dice >= metrics.nested.dice
    assert metrics.dice_all_empty == (~positive).mean()
    assert metrics.patients == 15
    for value, (low, high) in (
        (metrics.nested.dice, metrics.nested.dice_interval),
        (metrics.dice_over_empty, metrics.dice_over_empty_interval),
    ):
        assert low < value < high


def test_auc_counts_pairs_with_half_for_ties(maps, maps_without_presence):
    found = auc(maps.histograms)
    assert found.presence_head == pytest.approx(plain_auc(maps.histograms.positive, maps.presence_probability))
    maximum = np.array([quantize(p).max() for p in maps.probability], float)
    assert found.max_pixel == pytest.approx(plain_auc(maps.histograms.positive, maximum))
    assert auc(maps_without_presence.histograms).presence_head is None


def test_auc_of_a_few_images_is_the_one_counted_by_hand():
    scores = [(True, 0.75), (True, 0.5), (False, 0.5), (False, 0.25), (False, 0.75)]
    examples = [example({score: 2}, true_pixels=2 * positive, presence=1 - score) for positive, score in scores]
    # 0.75 beats 0.5 and 0.25, and ties once: 2.5. 0.5 beats 0.25, and ties once: 1.5. So 4 of 6, and 2 the other way.
    found = auc(to_histograms(examples))
    assert (found.presence_head, found.max_pixel) == (pytest.approx(2 / 6), pytest.approx(4 / 6))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_auc_is_the_share_of_pairs_in_the_right_order(images):
    found = auc(
        to_histograms(
            [example({b / 8: 1}, true_pixels=3 * positive, presence=p / 4) for positive, b, p in images],
        )
    )
    positives, negatives = ([each[1:] for each in images if each[0] is side] for side in (True, False))
    for axis, value in enumerate((found.max_pixel, found.presence_head)):
        pairs = [(x[axis] > y[axis]) + 0.5 * (x[axis] == y[axis]) for x in positives for y in negatives]
        assert value == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


def test_one_image_without_a_presence_leaves_no_auc_of_the_presence_head():
    examples = [example({0.5: 1}, true_pixels=1, presence=0.5), example({0.25: 1}, true_pixels=0)]
    assert auc(to_histograms(examples)) == Auc(presence_head=None, max_pixel=1.0)


def test_validation_metrics_are_the_best_rules_dice_and_the_auc(maps, maps_without_presence):
    found = validation_metrics(maps.histograms)
    positive = maps.histograms.positive
    assert found["dice_all_empty"] == (~positive).mean()
    assert found["dice_all_empty"] <= found["dice_best_rule"] <= 1
    assert found["auc"] == pytest.approx(plain_auc(positive, maps.presence_probability))
    without = maps_without_presence
    maximum = np.array([quantize(p).max() for p in without.probability], float)
    found = validation_metrics(without.histograms)
    assert found["auc"] == pytest.approx(plain_auc(without.histograms.positive, maximum))


def test_auc_is_left_out_where_it_is_undefined(maps):
    found = validation_metrics(maps.histograms.select(maps.histograms.positive))
    assert found.keys() == {"dice_best_rule", "dice_all_empty"}


def test_metrics_are_json_even_where_they_are_undefined(maps):
    negatives = maps.histograms.select(~maps.histograms.positive)
    metrics = compute_metrics(negatives)
    assert metrics.nested.dice_positive is None
    assert metrics.nested.sensitivity is None
    assert metrics.auc == Auc(presence_head=None, max_pixel=None)
    assert json_and_back(metrics) == metrics
    assert " - " in describe(metrics).replace("\n", " ")


def test_unknown_patients_count_as_one_each(maps):
    one, unknown = (
        replace(maps.histograms, patient=np.full(len(maps.histograms), number, np.int32)) for number in (7, -1)
    )
    assert compute_metrics(one).patients == 1
    assert compute_metrics(unknown).patients == len(maps.histograms)


def test_each_image_is_scored_by_the_rule_of_its_own(maps):
    histograms, index = maps.histograms, np.arange(30) % 2
    rules = (DecisionRule(60, 0.0, 40), DecisionRule(200, 3000.0, 120, 0.5))
    found = score_by_fold_rules(histograms, index, rules)
    both = np.stack([score_images(histograms, rule) for rule in rules])
    expected = both[index, np.arange(30)]
    assert found.dice == expected.mean()
    assert found.dice_positive == expected[histograms.positive].mean()
    assert found.dice_empty == expected[~histograms.positive].mean()
    nested = nested_estimate(histograms)
    of_nested = score_by_fold_rules(histograms, nested.rule_index, nested.rules)
    assert of_nested.dice == compute_metrics(histograms, nested).nested.dice
