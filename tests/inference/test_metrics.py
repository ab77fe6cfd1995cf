"""Metrics against those of the masks, and metrics.json."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from pneumo.inference import decision_rule, threshold_search
from pneumo.inference.histograms import quantize
from pneumo.inference.metrics import Auc, Metrics, auc, compute_metrics, describe, read, validation_metrics, write
from pneumo.masks import rle
from pneumo.runtime.config import from_json
from pneumo.runtime.errors import UserError


@pytest.fixture(scope="module")
def metrics(maps):
    return compute_metrics(maps.histograms)


def json_and_back(metrics: Metrics) -> Metrics:
    return from_json(Metrics, json.loads(json.dumps(asdict(metrics), allow_nan=False)), "metrics.json")


def plain_auc(positive: np.ndarray, value: np.ndarray) -> float:
    pairs = value[positive][:, None] - value[~positive][None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_nested_metrics_are_those_of_the_masks_that_the_nested_rules_write(maps, metrics):
    histograms, result = maps.histograms, threshold_search.nested_estimate(maps.histograms)
    dice, predicted_positive = [], []
    for i, (p, g) in enumerate(zip(maps.probability, maps.truth, strict=True)):
        written = decision_rule.apply_rule(
            quantize(p), result.rules[histograms.fold[i]], float(maps.presence_probability[i])
        )
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


def test_table_shows_folds_estimates_and_the_rule(metrics):
    lines = describe(metrics).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["fold"] * 3
    assert lines[4].startswith("nested ")
    assert lines[5].startswith("in-sample ")
    assert len({len(line) for line in lines[:6]}) == 1
    assert "every image empty" in lines[6]
    assert "positive with" in lines[-1]
    assert json_and_back(metrics) == metrics


def test_unknown_patients_count_as_one_each(maps):
    one, unknown = (
        replace(maps.histograms, patient=np.full(len(maps.histograms), number, np.int32)) for number in (7, -1)
    )
    assert compute_metrics(one).patients == 1
    assert compute_metrics(unknown).patients == len(maps.histograms)


def test_file_gives_the_metrics_back(metrics, tmp_path):
    write(tmp_path / "metrics.json", metrics)
    assert read(tmp_path / "metrics.json") == metrics


@pytest.mark.parametrize("place", ["auc", "excluded", "caveats", "oof_csv_dice", "nested.dice", "in_sample.rule"])
def test_file_without_a_field_is_refused(metrics, place, tmp_path):
    path = tmp_path / "metrics.json"
    write(path, metrics)
    content = json.loads(path.read_text())
    *group, name = place.split(".")
    del (content[group[0]] if group else content)[name]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"metrics\.json\.{place} is missing; expected every field; restore the file"):
        read(path)


def test_file_of_version_1_is_refused_in_one_line(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"format_version": 1, "images": 32, "all_empty": 0.5, "gain": 0.1}')
    message = r"metrics\.json has format version 1; expected format version 2; use the version"
    with pytest.raises(UserError, match=message) as raised:
        read(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", None])
def test_file_that_is_no_metrics_is_refused(text, tmp_path):
    path = tmp_path / "metrics.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json .*expected the metrics of a finished run"):
        read(path)
