"""The rule of the benchmark of predictions makes as many masks as the competition has."""

import pytest

from pneumo.bench import infer, search
from pneumo.inference.decision_rule import predict_presence


def test_a_fifth_of_the_images_get_a_mask_of_some_pixels() -> None:
    histograms = search.draw(200, presence=False)
    rule = infer.choose_rule(histograms)
    assert predict_presence(histograms, rule).mean() == pytest.approx(0.22, abs=0.01)
    share = histograms.predicted[:, rule.bottom_bin] / histograms.pixels
    assert 0.001 < share.mean() <= 0.02
