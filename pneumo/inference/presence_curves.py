"""How well a score tells images with a pneumothorax from those without: ROC and precision-recall curve, with intervals.

The intervals are of a bootstrap over patients, as those of the Dice (``bootstrap``): an image weighs as often as its
patient was drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 300
"""Fewer than for a mean: each resample sorts all images again."""
MAX_POINTS = 300
"""Points of a curve that are kept; more are not seen, and a large file."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Area:
    """An area under a curve with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class PresenceCurves:
    """The curves of one score."""

    false_positive_rate: Floats
    """(n,) 1 - specificity, ascending."""
    true_positive_rate: Floats
    """(n,) sensitivity at each of them."""
    recall: Floats
    """(m,) sensitivity, descending."""
    precision: Floats
    """(m,) share of the images called positive that are, at each of them."""
    auc: Area
    """Area under the ROC curve."""
    average_precision: Area
    """Mean of the precision over the recall; without any skill it is the share of positive images."""


def presence_curves(
    positive: npt.NDArray[np.bool_], score: Floats, patients: npt.NDArray[np.int64]
) -> PresenceCurves | None:
    """Return the curves; None when all images are positive, or none is.

    Args:
        positive: (n,) whether an image has a pneumothorax.
        score: (n,) in [0, 1].
        patients: (n,) patient of each image, numbered from 0 without gaps.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    if positive.all() or not positive.any():
        return None
    false_rate, true_rate, _ = roc_curve(positive, score)
    precision, recall, _ = precision_recall_curve(positive, score, drop_intermediate=True)
    return PresenceCurves(
        false_positive_rate=_thin(false_rate),
        true_positive_rate=_thin(true_rate),
        recall=_thin(recall),
        precision=_thin(precision),
        auc=_area(roc_auc_score, positive, score, patients),
        average_precision=_area(average_precision_score, positive, score, patients),
    )


def _thin(values: Floats) -> Floats:
    kept: Floats = values[np.unique(np.linspace(0, len(values) - 1, MAX_POINTS).round().astype(int))]
    return kept


def _area(
    measure: Callable[..., float], positive: npt.NDArray[np.bool_], score: Floats, patients: npt.NDArray[np.int64]
) -> Area:
    rng, count = np.random.default_rng(0), int(patients.max()) + 1
    values = []
    for _ in range(RESAMPLES):
        weight = np.bincount(rng.integers(count, size=count), minlength=count)[patients]
        # A resample of few patients may have images of one kind alone, for which no area is defined.
        if weight[positive].any() and weight[~positive].any():
            values.append(measure(positive, score, sample_weight=weight))
    value = float(measure(positive, score))
    low, high = np.quantile(values, [0.025, 0.975]) if values else (value, value)
    return Area(value=value, low=float(low), high=float(high))
