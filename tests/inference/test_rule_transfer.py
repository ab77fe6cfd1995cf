"""A rule that is moved for the mean calls as many images positive as the networks do, with masks as large."""

from dataclasses import replace

import numpy as np
import pytest

from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.inference.expected_score import ExpectedScore, Features, estimate
from pneumo.inference.rule_transfer import MIN_POSITIVE, UnlabeledPredictions, transfer

IMAGES, PIXELS = 400, 1024
RULE = DecisionRule(160, 10_240.0, 120, 0.9)


def quantized(log_odds: np.ndarray) -> np.ndarray:
    """Quantize probabilities as the predictions are."""
    return np.minimum((256 / (1 + np.exp(-log_odds))).astype(int), 255)


def predictions(level: np.ndarray, presence: np.ndarray) -> UnlabeledPredictions:
    """Make images whose pixels' log-odds fall evenly by 12 from the image's level, and count their pixels one by one.

    Args:
        level: (n,) log-odds of the image's highest pixel.
        presence: (n,) log-odds.
    """
    bins = quantized(level[:, None] - np.linspace(0, 12, PIXELS)[None])
    at_least = np.stack([np.bincount(each, minlength=256)[::-1].cumsum()[::-1] for each in bins])
    return UnlabeledPredictions(
        predicted=at_least, presence_probability=(1 / (1 + np.exp(-presence))).astype(np.float32)
    )


def networks_and_mean(count: int, *, noise: float = 2.0, seed: int = 0) -> list[UnlabeledPredictions]:
    """Draw what each image has, and what each network adds; last is the mean, which is less extreme."""
    random = np.random.default_rng(seed)
    signal = random.normal(-1.5, 2.0, IMAGES)
    levels = signal + random.normal(0, noise, (count, IMAGES))
    heads = signal + random.normal(0, noise, (count, IMAGES))
    each = [predictions(level, head) for level, head in zip(levels, heads, strict=True)]
    return [*each, predictions(levels.mean(axis=0), heads.mean(axis=0))]


def positives(found: UnlabeledPredictions, rule: DecisionRule) -> np.ndarray:
    """Apply the thresholds plainly."""
    area = found.predicted[:, rule.top_bin] * 1024**2 / PIXELS
    large = (area >= rule.min_area) & (found.predicted[:, rule.top_bin] > 0)
    return large & ~(found.presence_probability.astype(float) < rule.presence_threshold)


@pytest.mark.parametrize("presence", [0.0, 0.9])
def test_the_mean_calls_as_many_images_positive_with_masks_as_large(presence: float) -> None:
    rule = replace(RULE, presence_threshold=presence)
    *networks, mean = networks_and_mean(5)
    moved = transfer(rule, networks, mean)
    assert moved is not None
    wanted = np.mean([positives(each, rule).sum() for each in networks])
    assert positives(mean, rule).sum() < 0.8 * wanted, "otherwise there is nothing to move"
    # Without a presence threshold it is the top threshold that is moved, one bin at a time.
    assert abs(positives(mean, moved).sum() - wanted) <= (0.5 if presence else 3)
    assert moved.min_area == rule.min_area
    assert moved.top_bin < rule.top_bin

    def mean_area(found: UnlabeledPredictions, by: DecisionRule) -> float:
        return float((found.predicted[positives(found, by), by.bottom_bin]).mean())

    weights = [positives(each, rule).sum() for each in networks]
    area = np.average([mean_area(each, rule) for each in networks], weights=weights)
    nearest = min(abs(mean_area(mean, replace(moved, bottom_bin=b)) - area) for b in range(1, moved.top_bin + 1))
    assert abs(mean_area(mean, moved) - area) == nearest


def test_networks_that_agree_leave_the_rule_as_it_is() -> None:
    *networks, mean = networks_and_mean(3, noise=0.0)
    assert transfer(RULE, networks, mean) == RULE


def test_other_prevalence_moves_the_rule_no_further() -> None:
    """Of a population with fewer pneumothoraces, the mean calls as few positive as its networks do."""
    *networks, mean = networks_and_mean(5)
    wanted = np.mean([positives(each, RULE) for each in networks], axis=0)
    few = np.flatnonzero((wanted < 0.3) | (np.arange(IMAGES) % 6 == 0))

    def of_few(found: UnlabeledPredictions) -> UnlabeledPredictions:
        return UnlabeledPredictions(
            predicted=found.predicted[few], presence_probability=found.presence_probability[few]
        )

    moved = transfer(RULE, [of_few(each) for each in networks], of_few(mean))
    assert moved is not None
    assert positives(of_few(mean), moved).mean() == pytest.approx(wanted[few].mean(), abs=0.5 / len(few))
    assert wanted[few].mean() < 0.7 * wanted.mean()


def test_without_presence_probabilities_the_pixels_decide() -> None:
    *networks, mean = [
        replace(each, presence_probability=np.full(IMAGES, np.nan, np.float32)) for each in networks_and_mean(4)
    ]
    moved = transfer(RULE, networks, mean)
    assert moved is not None
    by_area = replace(RULE, presence_threshold=0.0)
    wanted = np.mean([positives(each, by_area).sum() for each in networks])
    assert abs(mean.count_positive(moved) - wanted) <= 3
    assert moved.presence_threshold == RULE.presence_threshold


def test_too_few_positive_images_move_nothing() -> None:
    *networks, mean = networks_and_mean(5, noise=0.5)
    index = np.flatnonzero(~np.any([positives(each, RULE) for each in networks], axis=0))
    one = np.flatnonzero(np.all([positives(each, RULE) for each in networks], axis=0))

    def selected(found: UnlabeledPredictions, count: int) -> UnlabeledPredictions:
        rows = np.concatenate([index, one[:count]])
        return UnlabeledPredictions(
            predicted=found.predicted[rows], presence_probability=found.presence_probability[rows]
        )

    assert len(one) >= MIN_POSITIVE
    for count in (MIN_POSITIVE - 1, MIN_POSITIVE):
        moved = transfer(RULE, [selected(each, count) for each in networks], selected(mean, count))
        assert (moved is None) == (count < MIN_POSITIVE)
    assert transfer(replace(RULE, min_area=NEVER), networks, mean) is None


def estimates(intercept: float) -> ExpectedScore:
    return ExpectedScore(
        presence_intercept=intercept,
        head_weight=1.0,
        max_pixel_weight=0.1,
        area_weights=(0.1,) * 8,
        lesion_shares=tuple(np.linspace(0, 0.9, 35).tolist()),
        dice_intercept=0.0,
        dice_weight=1.0,
    )


@pytest.mark.parametrize("min_area", [RULE.min_area, NEVER])
def test_of_a_decision_by_expected_score_the_presence_is_moved(min_area: float) -> None:
    rule = replace(RULE, min_area=min_area, expected_score=estimates(-6.0))
    *networks, mean = networks_and_mean(5)
    moved = transfer(rule, networks, mean)
    assert moved is not None
    assert moved.expected_score is not None

    def count(found: UnlabeledPredictions, model: ExpectedScore) -> int:
        expected = estimate(model, Features.of(found.predicted, found.pixels, found.presence_probability))
        return int((expected.presence * (1 + expected.dice) > 1).sum())

    wanted = np.mean([count(each, rule.expected_score) for each in networks])
    assert count(mean, rule.expected_score) < 0.8 * wanted
    assert count(mean, moved.expected_score) == round(wanted)
    assert moved.expected_score.presence_intercept > -6.0
    assert replace(moved.expected_score, presence_intercept=-6.0) == rule.expected_score
    beside = transfer(replace(rule, expected_score=None), networks, mean)
    assert replace(moved, expected_score=None) == (beside or replace(rule, expected_score=None))


def test_estimates_that_call_few_images_positive_are_not_moved() -> None:
    *networks, mean = networks_and_mean(5)
    assert transfer(replace(RULE, expected_score=estimates(-30.0)), networks, mean) is None


def test_estimates_under_which_every_image_with_a_pixel_is_positive() -> None:
    """Their mask has no pixel in the others, whatever the presence."""
    *networks, mean = networks_and_mean(3, noise=0.0)
    rule = replace(RULE, expected_score=estimates(30.0))
    moved = transfer(rule, networks, mean)
    assert moved is not None
    assert mean.count_positive(moved) == mean.count_positive(rule) > IMAGES // 2
