"""The areas under the curves against scikit-learn and against counting pairs, and their intervals."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pneumo.inference import presence_curves as module
from pneumo.inference.presence_curves import MAX_POINTS, presence_curves, weighted_areas


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw n images with scores on a coarse grid, so that many are equal."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.3
    score = np.round(np.clip(rng.normal(0.4 + 0.2 * positive, 0.2), 0, 1), 1)
    return positive, score, np.arange(n) // 2


def test_the_areas_of_four_images_are_those_of_pairs() -> None:
    positive = np.array([True, False, True, False])
    score = np.array([0.9, 0.8, 0.3, 0.3])
    curves = presence_curves(positive, score, np.arange(4))
    assert curves is not None
    # Of four pairs three are in order, of which one is a tie: (1 + 1 + 0 + 0.5) / 4.
    assert curves.auc.value == 0.625
    # At 0.9 recall 1/2 with precision 1, at 0.3 recall 1 with precision 1/2.
    assert curves.average_precision.value == 0.75
    assert (curves.recall[0], curves.precision[0]) == (1, 0.5)
    assert (curves.false_positive_rate[-1], curves.true_positive_rate[-1]) == (1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_areas_are_those_of_scikit_learn(seed: int) -> None:
    positive, score, _ = draw(60, seed)
    weight = np.random.default_rng(seed).integers(0, 4, (7, 60)).astype(float)
    expected = [
        [measure(positive, score, sample_weight=one) for one in weight]
        for measure in (roc_auc_score, average_precision_score)
    ]
    assert weighted_areas(positive, score, weight) == pytest.approx(np.array(expected), abs=1e-12)


def test_without_images_of_one_kind_there_is_no_area() -> None:
    positive, score = np.array([True, False]), np.array([0.7, 0.2])
    areas = weighted_areas(positive, score, np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    assert np.isnan(areas[:, :2]).all()
    assert areas[:, 2].tolist() == [1, 1]
    assert presence_curves(np.array([True, True]), score, np.arange(2)) is None
    assert presence_curves(np.array([False, False]), score, np.arange(2)) is None


def test_intervals_hold_the_value_and_are_wider_for_fewer_patients() -> None:
    positive, score, patients = draw(400)
    many = presence_curves(positive, score, patients)
    few = presence_curves(positive, score, patients // 20)
    assert many is not None
    assert few is not None
    for area, wider in ((many.auc, few.auc), (many.average_precision, few.average_precision)):
        low, high = area.interval
        assert low < area.value == wider.value < high
        assert 0.02 < high - low < 0.3
        assert wider.interval != area.interval
    assert presence_curves(positive, score, patients).auc.interval == many.auc.interval, "the same draws"  # type: ignore[union-attr]


def test_the_intervals_are_those_of_drawing_whole_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 200)
    rng = np.random.default_rng(3)
    # Twenty patients of one to seven images each, in no order, of which most are all positive or all negative.
    patients = rng.permutation(np.r_[np.arange(20), rng.integers(0, 20, 40) // 2])
    positive = (patients % 3 == 0) ^ (rng.random(60) < 0.1)
    score = np.round(np.clip(rng.normal(0.4 + 0.15 * positive, 0.2), 0, 1), 1)
    curves = presence_curves(positive, score, patients)
    assert curves is not None

    draws = np.random.default_rng(0)
    aucs, precisions = [], []
    for drawn in (one for _ in range(2) for one in draws.integers(20, size=(100, 20))):
        images = [i for patient in drawn for i in range(60) if patients[i] == patient]
        assert 0 < positive[images].sum() < len(images), "every resample has images of both kinds"
        aucs.append(roc_auc_score(positive[images], score[images]))
        precisions.append(average_precision_score(positive[images], score[images]))
    for area, values in ((curves.auc, aucs), (curves.average_precision, precisions)):
        assert area.interval == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)


def test_a_curve_of_many_images_keeps_its_ends_and_few_points() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(4_000) < 0.2
    curves = presence_curves(positive, rng.random(4_000), np.arange(4_000) // 20)
    assert curves is not None
    assert len(curves.false_positive_rate) == len(curves.true_positive_rate) <= MAX_POINTS
    assert len(curves.recall) == len(curves.precision) <= MAX_POINTS
    assert (curves.false_positive_rate[0], curves.false_positive_rate[-1]) == (0, 1)
    assert curves.auc.value == pytest.approx(0.5, abs=0.04)
    assert curves.average_precision.value == pytest.approx(0.2, abs=0.04)
