"""The scores of variants, which are runs on the same images and folds, and their paired differences to the first.

Every image is scored as its run reports it, under the rule that was chosen on the other folds: that which the run's
metrics record, if it has any. A variant that was trained with several seeds has the mean of their scores at each image,
and the mean of their areas under the ROC curve.

The difference between two variants is paired: both are scored on the same patients in each bootstrap resample, so that
how hard the patients are, which is most of what varies, cancels out. Its interval says how it would vary with other
patients, not with another training: only several seeds show that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from pneumo.dataset.patients import number_patients
from pneumo.inference.bootstrap import resampled_means
from pneumo.inference.comparison_json import Difference, Score
from pneumo.inference.evaluation import auc, presence_scores
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import Auc, Interval95, Metrics
from pneumo.inference.presence_curves import resampled_areas
from pneumo.inference.rule_choice import apply_recorded, choose

Floats = npt.NDArray[np.float64]

DETECTABLE_ERRORS = float(ndtri(0.975) + ndtri(0.8))
"""Standard errors that a true difference must have, 2.80, for 80 % of all samples of patients to show it with a 95 %
interval that excludes 0. (Gelman and Hill, Data Analysis Using Regression and Multilevel/Hierarchical Models, 2007,
chapter 20; it is the minimum detectable effect of Bloom, Evaluation Review 19(5), 1995, for a two-sided test.)"""

AREAS = ("auc_presence_head", "auc_max_pixel")
"""The scores that are areas under the ROC curve, with their names in ``Auc`` behind the prefix."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunPredictions:
    """What the comparison needs of the out-of-fold predictions of n images by a run."""

    image_id: npt.NDArray[np.str_]
    """(n,)"""
    fold: npt.NDArray[np.int16]
    """(n,)"""
    patient: npt.NDArray[np.int64]
    """(n,) numbered from 0 without gaps."""
    positive: npt.NDArray[np.bool_]
    """(n,)"""
    dice: Floats
    """(n,) under the nested rules."""
    correct: npt.NDArray[np.bool_]
    """(n,): whether the nested rules say rightly that there is a pneumothorax or none."""
    presence: Mapping[str, Floats]
    """(n,) each: the scores of ``presence_scores``."""
    auc: Auc
    min_component: float
    """Components smaller than this are removed from the masks that are scored, in pixels of a 1024x1024 image."""

    @classmethod
    def of(
        cls,
        histograms: PredictionHistograms,
        recorded: Metrics | None = None,
        where: str | PathLike[str] = "metrics.json",
    ) -> Self:
        """Score the predictions of a run.

        Args:
            histograms: The predictions.
            recorded: The run's metrics of these predictions, whose rules are used; without them, rules are chosen.
            where: The file of the metrics, for messages.

        Raises:
            UserError: When there are fewer than two images, or the metrics are of others.
        """
        nested = choose(histograms) if recorded is None else apply_recorded(histograms, recorded, where)
        return cls(
            image_id=histograms.image_id,
            fold=histograms.fold,
            patient=number_patients(histograms.patient),
            positive=histograms.positive,
            dice=nested.dice,
            correct=nested.predicted_positive == histograms.positive,
            presence=presence_scores(histograms),
            auc=auc(histograms),
            min_component=histograms.min_component,
        )

    def has_same_images(self, other: "RunPredictions") -> bool:
        """Return whether another run has the same images, truths, patients and folds, in the same order."""
        names = ("image_id", "fold", "patient", "positive")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)


@dataclass(frozen=True, eq=False)
class _Statistic:
    value: float
    resamples: Floats
    """(RESAMPLES,): the value in each resample; NaN where it is undefined."""

    def score(self, first: "_Statistic | None") -> Score:
        return Score(
            value=self.value,
            interval=_interval(self.resamples),
            difference=None if first is None else _difference(self, first),
        )


def score_variants(variants: Sequence[Sequence[RunPredictions]]) -> list[dict[str, Score]]:
    """Return the scores of each variant by name, with the differences to the first one.

    Args:
        variants: The runs of each variant, one for each seed; all of the same images, in the same order.
    """
    statistics = [_statistics(runs) for runs in variants]
    first = statistics[0]
    return [
        {name: statistic.score(None if found is first else first.get(name)) for name, statistic in found.items()}
        for found in statistics
    ]


def _statistics(runs: Sequence[RunPredictions]) -> dict[str, _Statistic]:
    """Return the scores of a variant that are defined, by name."""
    positive, patient = runs[0].positive, runs[0].patient
    dice = np.mean([run.dice for run in runs], axis=0)
    correct = np.mean([run.correct for run in runs], axis=0)
    means = {
        "dice": (dice, np.ones_like(positive)),
        "dice_over_empty": (dice - ~positive, np.ones_like(positive)),
        "dice_positive": (dice, positive),
        "sensitivity": (correct, positive),
        "specificity": (correct, ~positive),
    }
    found = {name: _mean(values[among], patient[among]) for name, (values, among) in means.items() if among.any()}
    for name in AREAS if 0 < positive.sum() < len(positive) else ():
        if (area := _area(runs, name.removeprefix("auc_"))) is not None:
            found[name] = area
    return found


def _mean(values: Floats, patient: npt.NDArray[np.int64]) -> _Statistic:
    patients = np.unique(patient, return_inverse=True)[1]
    return _Statistic(float(values.mean()), resampled_means(values, patients))


def _area(runs: Sequence[RunPredictions], name: str) -> _Statistic | None:
    """Return the mean of the runs' areas; None when a run does not have this score."""
    areas = [getattr(run.auc, name) for run in runs]
    if None in areas:
        return None
    resamples = [resampled_areas(run.positive, run.presence[name], run.patient)[0] for run in runs]
    return _Statistic(float(np.mean(areas)), np.mean(resamples, axis=0))


def _difference(one: _Statistic, first: _Statistic) -> Difference:
    resamples = one.resamples - first.resamples
    error = float(np.nanstd(resamples))
    return Difference(
        value=one.value - first.value,
        interval=_interval(resamples),
        standard_error=error,
        detectable=DETECTABLE_ERRORS * error,
    )


def _interval(resamples: Floats) -> Interval95:
    low, high = np.nanquantile(resamples, [0.025, 0.975]).tolist()
    return low, high
