"""The reliability diagram and the expected calibration error, against small cases by hand."""

import numpy as np
import pytest

from pneumo.inference.calibration import BINS, ReliabilityBin, reliability


def test_bins_and_error_of_five_images() -> None:
    probability = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    positive = np.array([False, True, False, True, True])
    found = reliability(positive, probability)
    assert found.bins == [
        ReliabilityBin(low=0.0, high=0.1, images=1, positives=0, mean_probability=0.05),
        ReliabilityBin(low=0.1, high=0.2, images=2, positives=1, mean_probability=0.15),
        ReliabilityBin(low=0.9, high=1.0, images=2, positives=2, mean_probability=0.975),
    ]
    assert [one.observed for one in found.bins] == [0, 0.5, 1]
    assert found.expected_error == pytest.approx((1 * 0.05 + 2 * 0.35 + 2 * 0.025) / 5)
    assert found.brier == pytest.approx((0.05**2 + 0.85**2 + 0.15**2 + 0.05**2 + 0) / 5)


def test_true_probabilities_have_next_to_no_error_and_constant_ones_the_difference() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(50_000)
    positive = rng.random(50_000) < probability
    found = reliability(positive, probability)
    assert len(found.bins) == BINS
    assert sum(one.images for one in found.bins) == 50_000
    assert found.expected_error < 0.01
    # The integral of p (1 - p).
    assert found.brier == pytest.approx(1 / 6, abs=0.005)
    overconfident = reliability(positive, np.full(50_000, 0.8))
    assert overconfident.expected_error == pytest.approx(0.8 - positive.mean())
