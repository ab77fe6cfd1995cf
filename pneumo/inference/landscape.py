"""The mean Dice around a decision rule, when two of its thresholds are others: how flat its optimum is.

Of a rule that decides by expected score it is that of the thresholds beside it.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pneumo.inference.decision_rule import NEVER, DecisionRule, score_images
from pneumo.inference.histograms import BINS, PredictionHistograms
from pneumo.inference.threshold_search import SearchGrid

STEP = 8
"""Bins between two thresholds."""
AREAS = 16
"""Minimum areas."""
AREA_STEP = 250.0
"""Least pixels of a 1024x1024 image between two minimum areas; more where the rule's own would be beyond the last."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Landscape:
    """Mean Dice over two thresholds."""

    x: npt.NDArray[np.float64]
    """(m,) values of the first threshold, ascending, evenly spaced."""
    y: npt.NDArray[np.float64]
    """(n,) values of the second."""
    dice: npt.NDArray[np.float64]
    """(n, m) mean Dice."""


def top_and_area(histograms: PredictionHistograms, rule: DecisionRule) -> Landscape:
    """Return the Dice over the top threshold and the minimum area, from the rule's bottom threshold upward."""
    rule = replace(rule, expected_score=None)
    bins = np.arange(rule.bottom_bin, BINS, STEP)
    own = rule.min_area if rule.min_area < NEVER else 0.0
    areas = np.arange(AREAS) * max(AREA_STEP, np.ceil(own / (AREAS - 4) / AREA_STEP) * AREA_STEP)
    dice = [
        [score_images(histograms, replace(rule, top_bin=int(top), min_area=float(area))).mean() for top in bins]
        for area in areas
    ]
    return Landscape(x=bins / BINS, y=areas, dice=np.array(dice))


def bottom_and_presence(histograms: PredictionHistograms, rule: DecisionRule) -> Landscape:
    """Return the Dice over the bottom threshold, up to the rule's top one, and the search's presence ones."""
    rule = replace(rule, expected_score=None)
    bins = np.arange(STEP // 2, rule.top_bin + 1, STEP)
    presence = np.array(SearchGrid().presence_thresholds)
    dice = [
        [
            score_images(histograms, replace(rule, bottom_bin=int(bottom), presence_threshold=float(least))).mean()
            for bottom in bins
        ]
        for least in presence
    ]
    return Landscape(x=bins / BINS, y=presence, dice=np.array(dice))
