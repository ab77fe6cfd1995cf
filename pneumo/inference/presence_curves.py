"""How well a score tells images with a pneumothorax from those without: ROC and precision-recall curve, with intervals.

The intervals are of a bootstrap over patients, as those of the Dice (``bootstrap``): an image weighs as often as its
patient was drawn.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.inference.bootstrap import BLOCK, RESAMPLES
from pneumo.inference.metrics import Interval95

MAX_POINTS = 300
"""Points of a curve that are kept; more are not seen, and a large file."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Area:
    """An area under a curve with its 95 % interval."""

    value: float
    interval: Interval95


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
    auc, average_precision = _intervals(positive, score, patients)
    false_rate, true_rate, _ = roc_curve(positive, score)
    precision, recall, _ = precision_recall_curve(positive, score, drop_intermediate=True)
    return PresenceCurves(
        false_positive_rate=_thin(false_rate),
        true_positive_rate=_thin(true_rate),
        recall=_thin(recall),
        precision=_thin(precision),
        auc=Area(value=float(roc_auc_score(positive, score)), interval=auc),
        average_precision=Area(value=float(average_precision_score(positive, score)), interval=average_precision),
    )


def _thin(values: Floats) -> Floats:
    kept: Floats = values[np.unique(np.linspace(0, len(values) - 1, MAX_POINTS).round().astype(int))]
    return kept


def _intervals(
    positive: npt.NDArray[np.bool_], score: Floats, patients: npt.NDArray[np.int64]
) -> tuple[Interval95, Interval95]:
    """Return the intervals of both areas."""
    areas = resampled_areas(positive, score, patients)
    # A resample of few patients may have images of one kind alone, for which no area is defined.
    auc, average_precision = np.nanquantile(areas, [0.025, 0.975], axis=1).T.tolist()
    return (auc[0], auc[1]), (average_precision[0], average_precision[1])


def resampled_areas(positive: npt.NDArray[np.bool_], score: Floats, patients: npt.NDArray[np.int64]) -> Floats:
    """Return the area under the ROC curve and the average precision in each of the resamples: (2, RESAMPLES).

    The resamples are the same for all scores of the same images; NaN where all images of one are of one kind.

    Args:
        positive: (n,) whether an image has a pneumothorax.
        score: (n,) in [0, 1].
        patients: (n,) patient of each image, numbered from 0 without gaps.
    """
    rng, count = np.random.default_rng(0), int(patients.max()) + 1
    areas = []
    for _ in range(0, RESAMPLES, BLOCK):
        drawn = rng.integers(count, size=(BLOCK, count))
        weight = np.stack([np.bincount(one, minlength=count)[patients] for one in drawn])
        areas.append(weighted_areas(positive, score, weight.astype(np.float64)))
    return np.concatenate(areas, axis=1)


def weighted_areas(positive: npt.NDArray[np.bool_], score: Floats, weight: Floats) -> Floats:
    """Return the area under the ROC curve and the average precision, (2, r), under r sets of weights.

    Those of scikit-learn, which checks its arguments anew for each set of weights: 30 times slower on 240 images.

    Args:
        positive: (n,) whether an image has a pneumothorax.
        score: (n,) of the images.
        weight: (r, n) weights of the images, 0 or more; NaN is returned where those of one kind are all 0.
    """
    order = np.argsort(-score, kind="stable")
    # The last image of each score: images of equal scores are on the same side of every threshold.
    ends = np.flatnonzero(np.diff(score[order], append=-np.inf))
    true = np.cumsum(weight[:, order] * positive[order], axis=1)[:, ends]
    false = np.cumsum(weight[:, order] * ~positive[order], axis=1)[:, ends]
    with np.errstate(invalid="ignore"):
        true_rate, false_rate = true / true[:, -1:], false / false[:, -1:]
        precision = np.nan_to_num(true / (true + false))
    steps = np.diff(true_rate, prepend=0.0), np.diff(false_rate, prepend=0.0)
    auc = (steps[1] * (true_rate - steps[0] / 2)).sum(axis=1)
    average_precision = np.where(np.isnan(auc), np.nan, (steps[0] * precision).sum(axis=1))
    return np.stack([auc, average_precision])
