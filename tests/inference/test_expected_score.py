from dataclasses import asdict, replace

import numpy as np
import pytest
from eager_fit import features_of
from known_scores import make_model
from random_maps import draw_maps

from pneumo.inference import expected_score
from pneumo.inference.expected_score import RANGES, Estimates, ExpectedScore, Features, best_masks, estimate
from pneumo.inference.histograms import PredictionHistograms
from pneumo.runtime import config
from pneumo.runtime.errors import UserError

MODEL = ExpectedScore(
    presence_intercept=-2.0,
    head_weight=0.7,
    max_pixel_weight=0.4,
    area_weights=(0.0, 0.1, 0.0, 0.05, 0.2, 0.0, 0.0, 0.3),
    lesion_shares=tuple(k / 34 for k in range(35)),
    dice_intercept=0.2,
    dice_weight=0.9,
)


def at(histograms: PredictionHistograms, model: ExpectedScore = MODEL) -> Estimates:
    return estimate(model, features_of(histograms))


def image(counts: dict[int, int], pixels: int = 1 << 20) -> np.ndarray:
    """Return (1, 256) pixels in each bin or above; the others are in the lowest bin."""
    of_bin = np.zeros(256, np.int64)
    for first, number in counts.items():
        of_bin[first] = number
    of_bin[0] = pixels - of_bin.sum()
    return of_bin[::-1].cumsum()[::-1][None]


@pytest.mark.parametrize(("presence", "dice"), [(0.5, 1.0), (0.6, 0.6), (0.6, 0.7), (0.99, 0.0), (1.0, 0.0)])
def test_a_mask_is_given_exactly_when_it_scores_more_than_an_empty_one(presence: float, dice: float) -> None:
    found = Estimates(presence=np.array([presence]), mask_bin=np.array([128]), dice=np.array([dice]))
    # Positive: the mask scores its Dice, an empty one 0. Negative: the mask 0, an empty one 1.
    of_mask, of_empty = presence * dice + (1 - presence) * 0, presence * 0 + (1 - presence) * 1
    assert found.gives_mask.tolist() == [of_mask > of_empty]


def test_with_known_probabilities_the_decision_is_that_of_bayes() -> None:
    # A lesion of 4000 + 1000 pixels is expected among 5000 + 10000: the mask of the first has the Dice .8.
    model = make_model(shares={96: 0.1, 192: 0.8})
    predicted = np.repeat(image({200: 5000, 104: 10_000}), 5, axis=0)
    presence = np.array([0.01, 0.5, 0.55, 0.56, 0.99], np.float32)
    found = estimate(model, Features.of(predicted, np.full(5, 1 << 20), presence))
    np.testing.assert_allclose(found.presence, presence, atol=1e-6)
    np.testing.assert_allclose(found.dice, 2 * 4000 / (5000 + 5000), atol=1e-12)
    # Of the pixels of the first kind alone.
    assert {112 <= first <= 200 for first in found.mask_bin.tolist()} == {True}
    # 1 / 1.8 = .5556
    assert found.gives_mask.tolist() == [False, False, False, True, True]


def test_the_best_mask_is_that_of_trying_every_bin() -> None:
    histograms = draw_maps(60).histograms
    rng = np.random.default_rng(1)
    counts = histograms.inside + histograms.outside
    for _ in range(5):
        shares = np.sort(rng.random(len(RANGES))) ** 2
        by_bin = shares[np.searchsorted(RANGES, np.arange(256), "right") - 1]
        first, figure = best_masks(shares, features_of(histograms).areas)
        for i in range(len(histograms)):
            lesion = (by_bin * counts[i]).sum()
            figures = [
                2 * (by_bin * counts[i])[b:].sum() / (counts[i, b:].sum() + lesion) if counts[i, b:].any() else 0.0
                for b in range(1, 256)
            ]
            assert figure[i] == pytest.approx(max(figures), abs=1e-12)
            assert figures[first[i] - 1] == pytest.approx(max(figures), abs=1e-12)


def test_more_suspicion_never_lowers_the_presence() -> None:
    histograms = draw_maps(60).histograms
    before = at(histograms).presence
    higher = replace(histograms, presence_probability=np.minimum(histograms.presence_probability + 0.1, 1))
    assert (at(higher).presence >= before).all()
    assert (at(higher).presence > before).any()
    shifted = replace(
        histograms, inside=np.roll(histograms.inside, 8, axis=1), outside=np.roll(histograms.outside, 8, axis=1)
    )
    untouched = (histograms.inside + histograms.outside)[:, -8:].sum(axis=1) == 0
    assert untouched.sum() > 10
    assert (at(shifted).presence >= before)[untouched].all()


def test_an_image_is_estimated_alone_as_among_others_to_the_last_bit() -> None:
    histograms = draw_maps(67).histograms
    together = at(histograms)
    for i in range(len(histograms)):
        alone = at(histograms.select(np.array([i])))
        for name in ("presence", "mask_bin", "dice"):
            assert getattr(alone, name)[0] == getattr(together, name)[i], name


def test_the_features_of_some_images_is_that_of_them_alone_to_the_last_bit() -> None:
    histograms = draw_maps(67).histograms
    some = np.arange(67) % 3 == 1
    found, alone = features_of(histograms).select(some), features_of(histograms.select(some))
    assert np.array_equal(found.presence_features, alone.presence_features)
    assert np.array_equal(found.areas, alone.areas)


def test_an_image_without_a_pixel_above_the_lowest_bin_gets_no_mask() -> None:
    found = estimate(
        make_model(shares={0: 1.0}), Features.of(image({}), np.array([1 << 20]), np.array([1.0], np.float32))
    )
    assert (found.dice.tolist(), found.gives_mask.tolist()) == ([0.0], [False])


def test_without_a_presence_head_the_pixels_decide() -> None:
    without = draw_maps(30, presence_head=False).histograms
    found = at(without)
    assert np.isfinite(found.presence).all()
    even = replace(without, presence_probability=np.full(30, 0.5, np.float32))
    assert np.array_equal(at(even).presence, found.presence)


def test_areas_are_those_of_an_image_of_1024x1024() -> None:
    small = estimate(MODEL, Features.of(image({200: 500}, 1 << 18), np.array([1 << 18]), np.array([0.5], np.float32)))
    large = estimate(MODEL, Features.of(image({200: 2000}), np.array([1 << 20]), np.array([0.5], np.float32)))
    assert small.presence[0] == pytest.approx(large.presence[0], abs=1e-15)


@pytest.mark.parametrize("name", ["area_weights", "lesion_shares"])
def test_values_of_another_number_are_refused(name: str) -> None:
    values = asdict(MODEL)
    values[name] = [*values[name], 1.0]
    with pytest.raises(UserError, match=rf"rule: {len(values[name])} {name}; expected {len(values[name]) - 1} of them"):
        config.from_json(ExpectedScore, values, "rule")


def test_what_is_written_is_what_is_read() -> None:
    assert config.from_json(ExpectedScore, asdict(MODEL), "rule") == MODEL
    assert set(expected_score.AREA_BINS) <= set(RANGES)
    with pytest.raises(UserError, match="head-weight"):
        replace(MODEL, head_weight=-0.1)
