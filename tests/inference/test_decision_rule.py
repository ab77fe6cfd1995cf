import itertools
import json

import numpy as np
import pytest

from pneumo.inference import decision_rule
from pneumo.inference.decision_rule import (
    NEVER,
    DecisionRule,
    SearchGrid,
    apply_rule,
    nested_estimate,
    predict_presence,
    score_images,
    search,
)
from pneumo.inference.histograms import BINS, quantize
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

SMALL = SearchGrid(
    top_thresholds=(40, 120, 200),
    min_areas=(0.0, 5000.0, 30000.0, NEVER),
    bottom_thresholds=(30, 60, 150),
    presence_thresholds=(0.0, 0.4, 0.6),
)
RULES = {
    "any pixel": DecisionRule(128, 0.0, 128),
    "triplet": DecisionRule(192, 4000.0, 77),
    "head": DecisionRule(100, 1000.0, 60, 0.5),
    "head alone": DecisionRule(1, 0.0, 1, 0.35),
    "extreme": DecisionRule(255, 0.0, 1),
    "never": DecisionRule(128, NEVER, 128),
}


def plain_dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


@pytest.mark.parametrize("case", RULES)
@pytest.mark.parametrize("with_head", [True, False])
def test_evidence_scores_exactly_as_the_encoded_masks_do(case, with_head, maps, maps_without_head):
    sample, rule = maps if with_head else maps_without_head, RULES[case]
    values, decided = score_images(sample.evidence, rule), predict_presence(sample.evidence, rule)
    for i, (p, g) in enumerate(zip(sample.probability, sample.truth, strict=True)):
        written = apply_rule(quantize(p), rule, float(sample.head[i]))
        assert written.dtype == np.uint8
        read = rle.decode(rle.encode(written), *g.shape).astype(bool)
        assert plain_dice(read, g) == values[i]
        assert bool(written.any()) == decided[i]


def test_rule_says_what_its_description_says():
    bins = np.zeros((512, 512), np.uint8)  # a quarter of 1024x1024: each pixel counts as four
    bins[0, :10] = 200
    bins[1, :30] = 100
    assert apply_rule(bins, DecisionRule(192, 40.0, 90)).sum() == 40
    assert not apply_rule(bins, DecisionRule(192, 40.5, 90)).any()
    assert not apply_rule(bins, DecisionRule(201, 0.0, 90)).any()
    assert apply_rule(bins, DecisionRule(192, 0.0, 101)).sum() == 10
    assert apply_rule(bins, DecisionRule(192, 0.0, 90, 0.5), 0.5).any()
    assert not apply_rule(bins, DecisionRule(192, 0.0, 90, 0.5), 0.499).any()
    assert apply_rule(bins, DecisionRule(192, 0.0, 90, 0.5)).any()  # no head: not asked


def test_head_at_the_threshold_is_decided_alike_from_float64_and_from_evidence(maps):
    # 0.35 is above its nearest float32: a float64 head must be rounded before it is compared.
    bins = np.full((4, 4), 255, np.uint8)
    for head in (0.35, 0.6, 0.7):
        stored = np.float32(head).astype(np.float64) >= head
        assert bool(apply_rule(bins, DecisionRule(1, 0.0, 1, head), head).any()) == stored


def test_search_finds_what_trying_every_rule_finds(maps, maps_without_head):
    for sample in (maps, maps_without_head):
        every = [
            DecisionRule(top, area, bottom, head)
            for top, area, head, bottom in itertools.product(
                SMALL.top_thresholds, SMALL.min_areas, SMALL.presence_thresholds, SMALL.bottom_thresholds
            )
            if bottom <= top
        ]
        best = max(score_images(sample.evidence, rule).mean() for rule in every)
        found = search(sample.evidence, SMALL)
        assert score_images(sample.evidence, found).mean() == pytest.approx(best, abs=1e-12)
        assert best > (~sample.evidence.positive).mean()
        assert found == search(sample.evidence, SMALL)


def test_every_entry_of_the_search_table_is_its_rules_gain(maps):
    evidence = maps.evidence
    part = np.arange(len(evidence)) % 2
    gains = decision_rule._gains(evidence, SMALL, part)
    for (t, top), (a, area), (h, head), (b, bottom) in itertools.product(
        *map(enumerate, (SMALL.top_thresholds, SMALL.min_areas, SMALL.presence_thresholds, SMALL.bottom_thresholds))
    ):
        if bottom > top:
            assert np.isneginf(gains[:, t, a, h, b]).all()
            continue
        each = score_images(evidence, DecisionRule(top, area, bottom, head)) - ~evidence.positive
        np.testing.assert_allclose(gains[:, t, a, h, b], [each[part == 0].sum(), each[part == 1].sum()], atol=1e-12)


def test_useless_predictions_leave_every_image_empty(maps):
    shuffled = maps.evidence.select(np.argsort(maps.evidence.positive))
    n = len(shuffled)
    useless = decision_rule.PredictionHistograms(
        image_id=shuffled.image_id,
        fold=shuffled.fold,
        patient=shuffled.patient,
        positive=np.zeros(n, np.bool_),
        pixels=shuffled.pixels,
        presence_probability=shuffled.presence_probability,
        inside=np.zeros_like(shuffled.inside),
        outside=shuffled.inside + shuffled.outside,
    )
    assert score_images(useless, search(useless)).tolist() == [1.0] * n


def test_ties_take_the_middle_of_the_plateau():
    gains = np.full((1, 5, 1, 1), -1.0)
    gains[0, 1:4] = 2.0
    grids = SearchGrid(
        top_thresholds=(200,), min_areas=(0.0, 1.0, 2.0, 3.0, 4.0), bottom_thresholds=(100,), presence_thresholds=(0.0,)
    )
    assert decision_rule._best(gains, 10, grids).min_area == 2.0
    gains[0, 3] += 1e-12  # rounding is no merit
    assert decision_rule._best(gains, 10, grids).min_area == 2.0


def test_nested_rules_never_saw_the_fold_they_score(maps):
    evidence = maps.evidence
    result = nested_estimate(evidence, SMALL)
    assert result.part.tolist() == evidence.fold.tolist()
    assert len(result.rules) == 3
    for fold, rule in enumerate(result.rules):
        inside = evidence.fold == fold
        assert rule == search(evidence.select(~inside), SMALL)
        assert np.array_equal(result.dice[inside], score_images(evidence.select(inside), rule))
        assert np.array_equal(result.predicted_positive[inside], predict_presence(evidence.select(inside), rule))
    assert result.final == search(evidence, SMALL)
    assert result.dice.mean() <= score_images(evidence, result.final).mean()


def test_one_fold_is_divided_by_patients(maps):
    evidence = maps.evidence
    one = evidence.select(evidence.fold == 1)
    result = nested_estimate(one, SMALL)
    assert set(result.part.tolist()) == {0, 1}
    for patient in np.unique(one.patient):
        assert len(set(result.part[one.patient == patient])) == 1
    for k, rule in enumerate(result.rules):
        assert rule == search(one.select(result.part != k), SMALL)
    single = one.select(one.patient == one.patient[0])
    assert sorted(nested_estimate(single, SMALL).part.tolist()) == [0, 1]


def test_one_image_is_too_few(maps):
    with pytest.raises(UserError, match="of 1 images; expected two at least"):
        nested_estimate(maps.evidence.select(np.array([0])))


@pytest.mark.parametrize("case", RULES)
def test_json_gives_the_rule_back(case):
    rule = RULES[case]
    values = json.loads(json.dumps(rule.to_json()))
    assert values["top_threshold"] == rule.top_threshold / BINS
    assert DecisionRule.from_json(values) == rule


@pytest.mark.parametrize(
    "change",
    [
        {"top_threshold": 1.0},
        {"bottom_threshold": 0.9},
        {"min_area": -1},
        {"presence_threshold": 2},
        {"top_threshold": None},
        {"bottom_threshold": float("nan")},
    ],
)
def test_wrong_json_is_refused(change):
    with pytest.raises(UserError, match=r"thresholds.*expected top, bottom"):
        DecisionRule.from_json({**RULES["head"].to_json(), **change})
    with pytest.raises(UserError, match="thresholds"):
        DecisionRule.from_json({})


def test_descriptions():
    assert RULES["never"].describe() == "every image is empty"
    assert RULES["triplet"].describe() == "positive from 4000 px (of 1024x1024) above 0.750; mask above 0.301"
    assert "head says 0.50" in RULES["head"].describe()


def test_default_grids_are_ascending_and_allowed():
    grids = SearchGrid()
    for values in (grids.top_thresholds, grids.min_areas, grids.bottom_thresholds, grids.presence_thresholds):
        assert list(values) == sorted(set(values))
    assert grids.min_areas[-1] == NEVER
    assert grids.bottom_thresholds[0] <= grids.top_thresholds[0]
    assert (
        len(grids.top_thresholds) * len(grids.min_areas) * len(grids.presence_thresholds) * len(grids.bottom_thresholds)
        > 1_000_000
    )
