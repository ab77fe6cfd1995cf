import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom

from pneumo.inference import bootstrap
from pneumo.inference.bootstrap import interval


def test_interval_of_independent_images_is_the_normal_one():
    values = np.random.default_rng(0).normal(0.8, 0.3, 4000)
    low, high = interval(values, np.arange(4000))
    error = values.std() / np.sqrt(4000)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_images_of_one_patient_do_not_narrow_it():
    rng = np.random.default_rng(0)
    by_patient = rng.random(500)
    single = interval(by_patient, np.arange(500))
    repeated = interval(np.repeat(by_patient, 8), np.repeat(np.arange(500), 8))
    assert repeated == pytest.approx(single)
    naive = interval(np.repeat(by_patient, 8), np.arange(4000))
    assert naive[1] - naive[0] < 0.5 * (single[1] - single[0])


def test_patients_with_many_images_weigh_as_many():
    values = np.array([1.0] * 90 + [0.0] * 10)
    groups = np.array([0] * 90 + list(range(1, 11)))
    low, high = interval(values, groups)
    # Without the large patient (probability .35) the mean is 0; drawn several times it nears 1.
    assert low == 0
    assert 0.95 < high < 1


def test_same_seed_same_interval():
    values, groups = np.random.default_rng(1).random(50), np.arange(50) // 2
    assert interval(values, groups) == interval(values, groups)
    assert interval(values, groups) != interval(values, groups, seed=1)
    wide, narrow = interval(values, groups, level=0.99), interval(values, groups, level=0.5)
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


def test_one_patient_has_no_width():
    assert interval(np.array([0.0, 1.0]), np.zeros(2, np.int64)) == (0.5, 0.5)


def test_interval_of_equal_patients_is_the_binomial_one():
    """Of patients with a value of 0 or 1 each, a resample's sum is binomial; three images of each change nothing."""
    n, positives, images = 40, 12, 3
    values = np.repeat(np.arange(n) < positives, images).astype(float)
    for level in (0.5, 0.8, 0.95):
        exact = [binom.ppf(q, n, positives / n) / n for q in ((1 - level) / 2, (1 + level) / 2)]
        # The quantile of 2,000 draws may be that of the neighboring sum.
        assert interval(values, np.repeat(np.arange(n), images), level=level) == pytest.approx(exact, abs=1.001 / n)


def test_width_is_that_of_the_ratio_of_sums_over_patients(monkeypatch):
    """Linearized variance of a ratio estimator (Cochran, Sampling Techniques, 1977, section 6.4), with replacement."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20_000)
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 6, 400)
    patients = np.repeat(np.arange(400), counts)
    values = np.repeat(rng.random(400), counts) + rng.normal(0, 0.1, len(patients))
    sums = np.array([values[patients == patient].sum() for patient in range(400)])
    mean = sums.sum() / counts.sum()
    error = np.sqrt(((sums - mean * counts) ** 2).sum()) / counts.sum()
    by_image = values.std() / np.sqrt(len(values))
    assert error > 1.5 * by_image
    for level in (0.5, 0.9, 0.95):
        low, high = interval(values, patients, level=level)
        assert (high - low) / (2 * ndtri((1 + level) / 2)) == pytest.approx(error, rel=0.05)


def test_resamples_are_those_of_an_explicit_loop_over_patients():
    # So many that another number of resamples has other quantiles.
    values, patients = np.random.default_rng(2).random(18), np.arange(18) * 5 % 12
    rng, means = np.random.default_rng(5), []
    for _ in range(20):
        for drawn in rng.integers(12, size=(bootstrap.BLOCK, 12)).tolist():
            images = [value for patient in drawn for value, own in zip(values, patients, strict=True) if own == patient]
            means.append(sum(images) / len(images))
    assert len(means) == 2000
    assert interval(values, patients, seed=5, level=0.9) == pytest.approx(np.quantile(means, [0.05, 0.95]))
