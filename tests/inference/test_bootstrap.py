import numpy as np
import pytest

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
