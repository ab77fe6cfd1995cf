import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from known_scores import make_model
from plain_histograms import quantize
from plain_rules import EDGE_RULES, ON_THE_EDGES, plain_dice, plain_mask, to_histograms

from pneumo.inference.decision_rule import (
    NEVER,
    DecisionRule,
    RuleInProbabilities,
    mask_bin,
    predict_presence,
    read_rule,
    rule_bins,
    score_images,
    write_rule,
)
from pneumo.inference.histograms import BINS
from pneumo.masks import rle
from pneumo.runtime import config
from pneumo.runtime.errors import UserError

RULES = {
    "any pixel": DecisionRule(128, 0.0, 128),
    "triplet": DecisionRule(192, 4000.0, 77),
    "presence": DecisionRule(100, 1000.0, 60, 0.5),
    "presence alone": DecisionRule(1, 0.0, 1, 0.35),
    "extreme": DecisionRule(255, 0.0, 1),
    "never": DecisionRule(128, NEVER, 128),
}


def apply_rule(bins, rule, presence_probability=float("nan")):
    """Return the mask that a rule makes of bins."""
    first = mask_bin(rule, np.bincount(bins.ravel(), minlength=BINS), presence_probability)
    return (bins >= first).astype(np.uint8) if first else np.zeros_like(bins)


@pytest.mark.parametrize("case", RULES)
@pytest.mark.parametrize("with_presence_head", [True, False])
def test_histograms_give_exactly_the_dice_of_the_encoded_masks(case, with_presence_head, maps, maps_without_presence):
    sample, rule = maps if with_presence_head else maps_without_presence, RULES[case]
    values, positive = score_images(sample.histograms, rule), predict_presence(sample.histograms, rule)
    for i, (p, g) in enumerate(zip(sample.probability, sample.truth, strict=True)):
        written = apply_rule(quantize(p), rule, float(sample.presence_probability[i]))
        assert written.dtype == np.uint8
        read = rle.decode(rle.encode(written), *g.shape).astype(bool)
        assert plain_dice(read.ravel().tolist(), g) == values[i]
        assert bool(written.any()) == positive[i]


@pytest.mark.parametrize("with_presence_head", [True, False])
def test_at_the_edge_of_every_threshold_masks_and_histograms_are_those_of_the_pixels(with_presence_head):
    examples = [each if with_presence_head else replace(each, presence=float("nan")) for each in ON_THE_EDGES]
    histograms = to_histograms(examples)
    for rule in EDGE_RULES:
        masks = [plain_mask(each, rule) for each in examples]
        written = [apply_rule(quantize(each.probability), rule, each.presence) for each in examples]
        assert [mask.ravel().tolist() for mask in written] == masks, rule
        assert predict_presence(histograms, rule).tolist() == [any(mask) for mask in masks], rule
        expected = [plain_dice(mask, each.truth) for mask, each in zip(masks, examples, strict=True)]
        assert score_images(histograms, rule).tolist() == expected, rule


@pytest.mark.parametrize("shape", [(32, 32), (1024, 1024)])
def test_the_rule_that_calls_every_image_empty_does_so_for_one_that_is_full(shape):
    assert not apply_rule(np.full(shape, BINS - 1, np.uint8), RULES["never"]).any()


def test_mask_follows_the_rules_definition():
    bins = np.zeros((512, 512), np.uint8)  # a quarter of 1024x1024: each pixel counts as four
    bins[0, :10] = 200
    bins[1, :30] = 100
    assert apply_rule(bins, DecisionRule(192, 40.0, 90)).sum() == 40
    assert not apply_rule(bins, DecisionRule(192, 40.5, 90)).any()
    assert not apply_rule(bins, DecisionRule(201, 0.0, 90)).any()
    assert apply_rule(bins, DecisionRule(192, 0.0, 101)).sum() == 10
    assert apply_rule(bins, DecisionRule(192, 0.0, 90, 0.5), 0.5).any()
    assert not apply_rule(bins, DecisionRule(192, 0.0, 90, 0.5), 0.499).any()
    assert apply_rule(bins, DecisionRule(192, 0.0, 90, 0.5)).any()  # no presence head: not applied


def test_presence_at_the_threshold_gives_the_same_decision_from_float64_and_from_histograms(maps):
    # 0.35 is above its nearest float32: a float64 presence probability must be rounded before it is compared.
    bins = np.full((4, 4), 255, np.uint8)
    for presence in (0.35, 0.6, 0.7):
        stored = np.float32(presence).astype(np.float64) >= presence
        assert bool(apply_rule(bins, DecisionRule(1, 0.0, 1, presence), presence).any()) == stored


@pytest.mark.parametrize("case", RULES)
def test_json_gives_the_rule_back(case):
    rule = RULES[case]
    values = json.loads(json.dumps(asdict(rule.in_probabilities())))
    assert values["top_threshold"] == rule.top_bin / BINS
    assert DecisionRule.from_probabilities(config.from_json(RuleInProbabilities, values, "rule")) == rule


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"top_threshold": 1.0}, r"rule\.top_threshold is 1\.0; expected 0\.00390625 to 0\.99609375"),
        ({"top_threshold": "0.5"}, r"rule\.top_threshold is 0\.5; expected a finite number"),
        ({"top_threshold": None}, r"rule\.top_threshold is None"),
        ({"bottom_threshold": 0.9}, r"bottom_threshold 0\.9; expected at most top_threshold"),
        ({"bottom_threshold": float("nan")}, r"rule\.bottom_threshold is nan"),
        ({"min_area": -1}, r"rule\.min_area is -1"),
        ({"presence_threshold": 2}, r"rule\.presence_threshold is 2; expected 0 to 1"),
        ({"presence_threshold": True}, r"rule\.presence_threshold is True"),
        ({"head": 0.5}, r"rule\.head is an unknown field"),
    ],
)
def test_wrong_json_is_refused(change, text):
    with pytest.raises(UserError, match=text):
        config.from_json(RuleInProbabilities, {**asdict(RULES["presence"].in_probabilities()), **change}, "rule")


def test_json_without_a_threshold_is_refused():
    with pytest.raises(UserError, match=r"rule\.top_threshold is missing"):
        config.from_json(RuleInProbabilities, {}, "rule")


@pytest.mark.parametrize(
    "rule", [(128, 0.0, 0), (127, 0.0, 128), (256, 0.0, 1), (128, -0.5, 1), (128, 0.0, 1, -0.5), (128, 0.0, 1, 1.5)]
)
def test_a_rule_out_of_range_is_a_fault_of_the_program(rule):
    with pytest.raises(AssertionError):
        DecisionRule(*rule)


def test_a_rule_at_the_ends_of_every_range_is_one():
    assert DecisionRule(255, 0.0, 255, 1.0).in_probabilities().presence_threshold == 1.0
    assert DecisionRule(1, NEVER, 1, 0.0).in_probabilities().bottom_threshold == 1 / 256


def test_descriptions():
    assert RULES["never"].describe() == "every mask is empty"
    assert RULES["triplet"].describe() == (
        "positive with 4000 px (of 1024x1024) of probability >= 0.750; the mask is every pixel of probability >= 0.301"
    )
    assert RULES["any pixel"].describe().startswith("positive with a pixel of probability >= 0.500; the mask")
    assert (
        DecisionRule(128, 1.0, 128).describe().startswith("positive with 1 px (of 1024x1024) of probability >= 0.500")
    )
    assert "and presence probability >= 0.50; the mask" in RULES["presence"].describe()


def test_file_gives_the_rule_back(tmp_path):
    write_rule(tmp_path / "thresholds.json", RULES["triplet"])
    assert read_rule(tmp_path / "thresholds.json") == RULES["triplet"]


def test_a_decision_by_expected_score_is_written_beside_the_thresholds(tmp_path):
    rule = replace(RULES["never"], expected_score=make_model(shares={128: 0.6}))
    write_rule(tmp_path / "thresholds.json", rule)
    assert read_rule(tmp_path / "thresholds.json") == rule
    assert not rule.is_never
    assert RULES["never"].is_never
    assert "expected Dice" in rule.describe()


def test_a_file_of_before_the_decision_by_expected_score_is_read(tmp_path):
    path = tmp_path / "thresholds.json"
    write_rule(path, RULES["triplet"])
    content = json.loads(path.read_text())
    assert content["rule"].pop("expected_score") is None
    path.write_text(json.dumps(content))
    assert read_rule(path) == RULES["triplet"]


def test_masks_by_expected_score_are_those_of_the_histograms(maps):
    rule = DecisionRule(128, 0.0, 128, 0.0, make_model(head=2.0, shares={8: 0.05, 64: 0.3, 160: 0.9}))
    values, positive = score_images(maps.histograms, rule), predict_presence(maps.histograms, rule)
    assert 0 < positive.sum() < len(positive)
    bins = rule_bins(maps.histograms, rule)
    assert len(set(bins[positive].tolist())) > 2, "each image has its own"
    for i, (p, g) in enumerate(zip(maps.probability, maps.truth, strict=True)):
        written = apply_rule(quantize(p), rule, float(maps.presence_probability[i]))
        assert plain_dice(written.astype(bool).ravel().tolist(), g) == values[i]
        assert bool(written.any()) == positive[i]


def test_file_of_the_rule_that_calls_every_image_empty_has_twice_the_pixels_of_the_reference(tmp_path):
    path = tmp_path / "thresholds.json"
    write_rule(path, RULES["never"])
    assert json.loads(path.read_text())["rule"]["min_area"] == 2 * 1024 * 1024
    assert read_rule(path).describe() == "every mask is empty"


@pytest.mark.parametrize("version", [1, 3, None, "2"])
def test_file_of_another_version_is_refused_in_one_line(version, tmp_path):
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"format_version": version, "rule": asdict(RULES["triplet"].in_probabilities())}))
    with pytest.raises(UserError) as raised:
        read_rule(path)
    message = str(raised.value)
    assert f"thresholds.json has format version {version!r}; expected format version 2; use the version of" in message
    assert "\n" not in message


def test_file_with_an_unknown_field_is_refused(tmp_path):
    path = tmp_path / "thresholds.json"
    write_rule(path, RULES["triplet"])
    path.write_text(json.dumps({**json.loads(path.read_text()), "calibration": 0.5}))
    with pytest.raises(UserError, match=r"thresholds\.json\.calibration is an unknown field"):
        read_rule(path)


def test_file_of_version_1_is_refused(tmp_path):
    path = tmp_path / "thresholds.json"
    path.write_text('{"format_version": 1, "rule": {"top": 0.75, "area": 4000.0, "bottom": 0.3, "head": 0.0}}')
    with pytest.raises(UserError, match="format version 1; expected format version 2"):
        read_rule(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"thresholds\.json .*expected the decision rule of a finished run"):
        read_rule(tmp_path / "thresholds.json")
