"""Which out-of-fold images the report shows: the best, median and worst masks, false alarms, and misses."""

import numpy as np
import numpy.typing as npt

from pneumo.inference.histograms import PredictionHistograms, equivalent_area
from pneumo.inference.nested import NestedEstimate, predicted_area

EACH = 4
"""Images of each kind."""
KINDS = {
    "Best": "Lesions that were found, with the highest Dice.",
    "Median": "Lesions that were found, with a Dice around the median.",
    "Worst": "Lesions that were found, with the lowest Dice.",
    "False alarms": "Images without a pneumothorax that were called positive, the largest predicted areas first.",
    "Misses": "Images with a pneumothorax that were left empty, the largest lesions first.",
}
"""Kinds, and what they are."""


def choose(histograms: PredictionHistograms, nested: NestedEstimate) -> dict[str, list[int]]:
    """Choose up to ``EACH`` images of each kind, each image once; indices into ``histograms``."""
    found = np.flatnonzero(histograms.positive & nested.predicted_positive)
    ranked = found[np.argsort(-nested.dice[found], kind="stable")].tolist()
    best, others = ranked[:EACH], ranked[EACH:]
    worst, middle = others[-EACH:], others[:-EACH]
    start = max((len(middle) - EACH) // 2, 0)
    alarms = np.flatnonzero(~histograms.positive & nested.predicted_positive)
    misses = np.flatnonzero(histograms.positive & ~nested.predicted_positive)
    return {
        "Best": best,
        "Median": middle[start : start + EACH],
        "Worst": worst,
        "False alarms": _largest(alarms, predicted_area(histograms, nested)),
        "Misses": _largest(misses, equivalent_area(histograms.truth, histograms.pixels)),
    }


def _largest(index: npt.NDArray[np.intp], area: npt.NDArray[np.float64]) -> list[int]:
    chosen: list[int] = index[np.argsort(-area[index], kind="stable")][:EACH].tolist()
    return chosen
