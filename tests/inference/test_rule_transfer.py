"""A rule that is moved for the mean calls as many images positive as the networks do, with masks as large."""

from dataclasses import replace

import numpy as np
import pytest

from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.inference.expected_score import RANGES, ExpectedScore, Features, estimate
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
        predicted=at_least, masked=at_least, presence_probability=(1 / (1 + np.exp(-presence))).astype(np.float32)
    )


def select(found: UnlabeledPredictions, index: np.ndarray) -> UnlabeledPredictions:
    return UnlabeledPredictions(
        predicted=found.predicted[index],
        masked=found.masked[index],
        presence_probability=found.presence_probability[index],
    )


def levels(highest: list[int], presence: list[float]) -> UnlabeledPredictions:
    """Make images of which half the pixels are in the given bin, and half in bin 0."""
    bins = np.array([[b] * (PIXELS // 2) + [0] * (PIXELS // 2) for b in highest])
    at_least = np.stack([np.bincount(each, minlength=256)[::-1].cumsum()[::-1] for each in bins])
    return UnlabeledPredictions(
        predicted=at_least, masked=at_least, presence_probability=np.array(presence, np.float32)
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

    moved = transfer(RULE, [select(each, few) for each in networks], select(mean, few))
    assert moved is not None
    assert positives(select(mean, few), moved).mean() == pytest.approx(wanted[few].mean(), abs=0.5 / len(few))
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

    assert len(one) >= MIN_POSITIVE
    for count in (MIN_POSITIVE - 1, MIN_POSITIVE):
        rows = np.concatenate([index, one[:count]])
        moved = transfer(RULE, [select(each, rows) for each in networks], select(mean, rows))
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


@pytest.mark.parametrize("presence", [0.0, 0.5])
def test_no_top_threshold_is_taken_that_no_image_of_the_mean_reaches(presence: float) -> None:
    """All images of the mean reach the same bin: 12 of them or none are positive by it."""
    networks = [levels([150] * 10 + [90] * 2, [0.9] * 12), levels([60] * 12, [0.9] * 12)]
    moved = transfer(DecisionRule(140, 0.0, 100, presence), networks, levels([100] * 12, [0.9] * 12))
    # Twelve are as far from the five of the networks as none.
    assert moved is None
    moved = transfer(DecisionRule(140, 0.0, 100, presence), networks[:1] * 2, levels([100] * 12, [0.9] * 12))
    assert moved is not None
    assert levels([100] * 12, [0.9] * 12).count_positive(moved) == 12


@pytest.mark.parametrize(("tied", "count"), [(8, 8), (12, 12), (15, 15), (30, 0)])
def test_equal_presence_probabilities_are_all_above_the_threshold_or_none(tied: int, count: int) -> None:
    """The networks call 10 of 40 positive: all of those tied, if they are nearer to 10 than none."""
    networks = [levels([200] * 40, [0.9] * 10 + [0.1] * 30)] * 2
    mean = levels([200] * 40, [0.6] * tied + [0.1] * (40 - tied))
    moved = transfer(DecisionRule(100, 0.0, 100, 0.8), networks, mean)
    if count == 0:
        assert moved is None
        return
    assert moved is not None
    assert mean.count_positive(moved) == count
    assert moved.presence_threshold == pytest.approx(0.35, abs=1e-6), "in the middle of the gap"


def test_masks_that_lose_all_components_are_not_positive() -> None:
    *networks, mean = networks_and_mean(5)

    def without(found: UnlabeledPredictions) -> UnlabeledPredictions:
        """Each second image keeps nothing."""
        masked = found.predicted * (np.arange(IMAGES) % 2)[:, None]
        return replace(found, masked=masked)

    moved = transfer(RULE, [without(each) for each in networks], without(mean))
    assert moved is not None
    odd = np.arange(IMAGES) % 2 == 1
    wanted = np.mean([(positives(each, RULE) & odd).sum() for each in networks])
    assert (positives(mean, moved) & odd).sum() == pytest.approx(wanted, abs=0.5)
    assert without(mean).count_positive(moved) == (positives(mean, moved) & odd).sum()


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
    assert (beside is None) == (min_area == NEVER)


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


def test_estimates_of_a_mean_without_a_possible_mask_are_not_moved() -> None:
    """Its pixels are all in bins of which no share belongs to a lesion."""
    shares = tuple(0.0 if first < 128 else 0.9 for first in RANGES)
    model = replace(estimates(5.0), lesion_shares=shares)
    networks = [levels([200] * 12, [0.9] * 12), levels([10] * 12, [0.9] * 12)]
    rule = DecisionRule(100, NEVER, 100, 0.0, model)
    assert networks[0].count_positive(rule) == 12
    assert transfer(rule, networks, levels([105] * 12, [0.9] * 12)) is None


def test_estimates_that_all_possible_masks_are_to_reach() -> None:
    """The mean has fewer possible masks than the networks call positive: all of them, and no tie in the way."""
    model = replace(estimates(-8.0), lesion_shares=tuple(0.0 if first < 128 else 0.9 for first in RANGES))
    rule = DecisionRule(100, NEVER, 100, 0.0, model)
    networks = [levels([200] * 12, [0.9999] * 12)] * 2
    mean = levels([150] * 8 + [100] * 4, [0.01] * 12)
    assert (networks[0].count_positive(rule), mean.count_positive(rule)) == (12, 0)
    moved = transfer(rule, networks, mean)
    assert moved is not None
    assert mean.count_positive(moved) == 8
