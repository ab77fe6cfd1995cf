"""The Dice around a rule: each cell is the score of that rule, and the chosen one lies within."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pneumo.inference.decision_rule import NEVER, DecisionRule, score_images
from pneumo.inference.histograms import BINS
from pneumo.inference.landscape import bottom_and_presence, top_and_area
from pneumo.inference.threshold_search import SearchGrid


@pytest.mark.parametrize("area", [0.0, 700.0, 12_000.0])
def test_each_cell_is_the_mean_dice_of_its_rule(maps: Any, area: float) -> None:
    rule = DecisionRule(top_bin=128, min_area=area, bottom_bin=64, presence_threshold=0.4)
    land = top_and_area(maps.histograms, rule)
    assert land.dice.shape == (len(land.y), len(land.x))
    for i, j in ((0, 0), (3, 5), (-1, -1)):
        other = replace(rule, top_bin=round(land.x[j] * BINS), min_area=float(land.y[i]))
        assert land.dice[i, j] == pytest.approx(score_images(maps.histograms, other).mean(), abs=1e-12)
    assert land.x[0] <= 128 / BINS <= land.x[-1]
    assert land.y[0] <= area <= land.y[-1]
    land = bottom_and_presence(maps.histograms, rule)
    for i, j in ((0, 0), (8, 7), (-1, -1)):
        other = replace(rule, bottom_bin=round(land.x[j] * BINS), presence_threshold=float(land.y[i]))
        assert land.dice[i, j] == pytest.approx(score_images(maps.histograms, other).mean(), abs=1e-12)


def test_the_presence_thresholds_are_those_of_the_search(maps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    finer = replace(SearchGrid(), presence_thresholds=tuple(step / 40 for step in range(40)))
    monkeypatch.setattr("pneumo.inference.landscape.SearchGrid", lambda: finer)
    rule = DecisionRule(top_bin=128, min_area=0.0, bottom_bin=64, presence_threshold=0.975)
    assert tuple(bottom_and_presence(maps.histograms, rule).y) == finer.presence_thresholds


def test_steps_are_even_and_a_rule_of_empty_masks_has_a_landscape(maps: Any) -> None:
    rule = DecisionRule(top_bin=255, min_area=NEVER, bottom_bin=4)
    for land in (top_and_area(maps.histograms, rule), bottom_and_presence(maps.histograms, rule)):
        for values in (land.x, land.y):
            assert np.ptp(np.diff(values)) < 1e-9
        assert ((land.dice >= 0) & (land.dice <= 1)).all()
