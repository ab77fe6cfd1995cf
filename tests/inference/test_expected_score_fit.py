from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from eager_fit import features_of, fit_all
from known_scores import BLURRED, HIT, draw_known
from random_maps import draw_maps
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from pneumo.inference.expected_score import RANGES, Features, estimate
from pneumo.inference.expected_score_fit import fit, fit_logistic, lesion_shares


def test_of_known_probabilities_the_fitted_decision_is_that_of_bayes() -> None:
    model = fit_all(draw_known(4000))
    assert model is not None
    others = draw_known(2000, seed=1)
    found = estimate(model, features_of(others))
    assert {BLURRED < first <= HIT for first in found.mask_bin.tolist()} == {True}
    np.testing.assert_allclose(found.dice, 0.75, atol=1e-3)
    away = (others.presence_probability > 0.02) & (others.presence_probability < 0.98)
    np.testing.assert_allclose(found.presence[away], others.presence_probability[away], atol=0.03)
    by_bayes = others.presence_probability > 4 / 7
    differ = found.gives_mask != by_bayes
    assert (abs(others.presence_probability[differ] - 4 / 7) < 0.02).all()
    assert found.gives_mask.sum() > 700


def test_shares_are_those_of_the_lesions_and_ascend() -> None:
    known = draw_known(200)
    shares = dict(zip(RANGES, lesion_shares(known.select(known.positive)).tolist(), strict=True))
    assert shares[0] == pytest.approx(500 / (1024 * 1024 - 10_000), abs=1e-6)
    assert (shares[BLURRED], shares[HIT]) == (0.25, 0.75)
    # A range without a pixel has the share of the one below it.
    assert (shares[HIT - 8], shares[248]) == (0.25, 0.75)
    drawn = draw_maps(60).histograms
    assert (np.diff(lesion_shares(drawn.select(drawn.positive))) >= 0).all()


def test_a_regression_is_that_of_scikit_learn_where_its_weights_are_positive() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3)) * (1.0, 5.0, 0.2) + (0.0, 3.0, -1.0)
    target = rng.random(400) < 1 / (1 + np.exp(-features @ (0.8, 0.2, 3.0)))
    intercept, weights = fit_logistic(features, target.astype(float))
    scaler = StandardScaler().fit(features)
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(scaler.transform(features), target)
    np.testing.assert_allclose(weights, oracle.coef_[0] / scaler.scale_, rtol=1e-3)
    assert intercept == pytest.approx(oracle.intercept_[0] - weights @ scaler.mean_, abs=2e-3)


def test_no_weight_is_negative() -> None:
    rng = np.random.default_rng(0)
    falling, rising = rng.normal(size=(2, 300))
    target = rng.random(300) < 1 / (1 + np.exp(2 * falling - rising))
    rounded = 0.1 + 1e-15 * rng.integers(0, 5, 300)
    _, weights = fit_logistic(np.stack([falling, rising, rounded], axis=1), target.astype(float))
    assert weights[0] == 0
    assert weights[1] > 0.4
    assert weights[2] == 0


def test_a_target_between_0_and_1_is_fitted_as_a_mean() -> None:
    x = np.repeat([0.0, 1.0], 500)
    intercept, (weight,) = fit_logistic(x[:, None], np.tile([0.1, 0.3], 500) + 0.4 * x)
    assert 1 / (1 + np.exp(-intercept)) == pytest.approx(0.2, abs=5e-3)
    assert 1 / (1 + np.exp(-intercept - weight)) == pytest.approx(0.6, abs=5e-3)


def test_without_a_presence_head_it_has_no_weight() -> None:
    histograms = draw_maps(60, presence_head=False).histograms
    model = fit_all(histograms)
    assert model is not None
    assert model.head_weight == 0
    assert fit_all(draw_known(400)).head_weight > 0.5  # type: ignore[union-attr]


def test_of_images_of_one_kind_nothing_is_fitted() -> None:
    known = draw_known(50)
    assert fit_all(known.select(known.positive)) is None
    assert fit_all(known.select(~known.positive)) is None


def test_lesions_that_nothing_is_seen_of_get_no_mask() -> None:
    known = draw_known(60)
    counts = np.zeros_like(known.inside)
    counts[:, 0] = known.pixels
    inside = np.where(known.positive[:, None], counts // 100, 0)
    blind = replace(known, inside=inside, outside=counts - inside)
    model = fit_all(blind)
    assert model is not None
    found = estimate(model, Features.of(blind.predicted, blind.pixels, np.ones(60, np.float32)))
    assert not found.gives_mask.any()


def test_a_fit_to_some_images_is_that_of_them_alone() -> None:
    known = draw_known(400)
    some = np.arange(400) % 3 > 0
    found = fit(known, features_of(known), some)
    assert found == fit_all(known.select(some))
    assert found != fit_all(known)


def test_the_fit_s_products_of_matrices_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other at each of them take several times as long on a busy machine."""
    from scipy import optimize

    threads, real = [], optimize.minimize

    def minimize(*arguments: Any, **options: Any) -> Any:
        threads.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
        return real(*arguments, **options)

    monkeypatch.setattr(optimize, "minimize", minimize)
    with threadpool_limits(2, user_api="blas"):
        assert fit_all(draw_known(400)) is not None
        after = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
    assert threads
    assert set(threads) == {1}
    assert set(after) == {2}
