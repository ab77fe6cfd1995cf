"""The nested estimate: each fold is scored by a rule that was chosen on the other folds.

A rule's Dice on the images it was chosen on is too high.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.dataset.patients import number_patients
from pneumo.inference.decision_rule import DecisionRule, has_mask, rule_bins, score_bins
from pneumo.inference.expected_score import Estimates
from pneumo.inference.histograms import PredictionHistograms, mask_area
from pneumo.inference.metrics import RuleComparison
from pneumo.runtime.errors import UserError, counted


@dataclass(frozen=True, eq=False)
class NestedEstimate:
    """An estimate in which no image was scored by a rule that it helped to choose."""

    rule_index: npt.NDArray[np.int64]
    """(n,): which of ``rules`` scored each image."""
    rules: tuple[DecisionRule, ...]
    """The rule for each subset of the images, chosen on the other subsets. The subsets are the folds in ascending
    order, or two halves of a single fold."""
    final: DecisionRule
    """The rule chosen on all images, for new images."""
    dice: npt.NDArray[np.float64]
    """(n,): each image's Dice under its subset's rule."""
    predicted_positive: npt.NDArray[np.bool_]
    """(n,): whether its subset's rule calls it positive."""
    estimates: Estimates | None = None
    """Presence and best mask of each image, estimated by a fit to the other subsets; None where there is no fit."""
    comparison: RuleComparison | None = None
    """Of the kinds of rules that were compared; None where only the thresholds were searched for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Judged:
    """What a rule makes of n images."""

    rule: DecisionRule
    dice: npt.NDArray[np.float64]
    """(n,)"""
    positive: npt.NDArray[np.bool_]
    """(n,): whether it calls the image positive."""

    @classmethod
    def by(cls, rule: DecisionRule, histograms: PredictionHistograms, bins: npt.NDArray[np.int64]) -> "Judged":
        """Score the masks of a rule that begin with ``bins`` (n,); 0 where it calls the image empty."""
        return cls(rule=rule, dice=score_bins(histograms, bins), positive=has_mask(histograms, bins))


def predicted_area(histograms: PredictionHistograms, nested: NestedEstimate) -> npt.NDArray[np.float64]:
    """Return the area of each image's mask (n,) by its subset's rule, in pixels of a 1024x1024 image."""
    areas = np.zeros(len(histograms))
    for k, rule in enumerate(nested.rules):
        mine = nested.rule_index == k
        selected = histograms.select(mine)
        bins = rule_bins(selected, rule)
        areas[mine] = np.where(bins > 0, mask_area(selected, bins), 0.0)
    return areas


def score_subsets(
    histograms: PredictionHistograms,
    subset: npt.NDArray[np.int64],
    rules: Sequence[DecisionRule],
    final: DecisionRule,
) -> NestedEstimate:
    """Score each subset by its own rule.

    Args:
        histograms: Predictions for n images.
        subset: (n,) number of each image's subset.
        rules: The rule of each subset, chosen on the others.
        final: The rule chosen on all images.
    """
    return gather(subset, [Judged.by(rule, histograms, rule_bins(histograms, rule)) for rule in rules], final)


def gather(subset: npt.NDArray[np.int64], judged: Sequence[Judged], final: DecisionRule) -> NestedEstimate:
    """Take for each image what the rule of its subset makes of it; arguments as of ``score_subsets``."""
    image = np.arange(len(subset))
    return NestedEstimate(
        rule_index=subset,
        rules=tuple(each.rule for each in judged),
        final=final,
        dice=np.stack([each.dice for each in judged])[subset, image],
        predicted_positive=np.stack([each.positive for each in judged])[subset, image],
    )


def assign_subsets(histograms: PredictionHistograms) -> npt.NDArray[np.int64]:
    """Number the folds from 0, or divide the patients of a single fold into two halves: (n,)."""
    if len(histograms) < 2:
        raise UserError(
            f"out-of-fold predictions of {counted(len(histograms), 'image')}",
            "at least two",
            "train on more labeled images",
        )
    folds, subset = np.unique(histograms.fold, return_inverse=True)
    if len(folds) > 1:
        return subset.astype(np.int64)
    return halve(histograms)


def halve(histograms: PredictionHistograms) -> npt.NDArray[np.int64]:
    """Divide the patients, or the images if they are of one patient, into two halves: (n,) 0 or 1."""
    patients = number_patients(histograms.patient)
    if patients.max() == 0:
        patients = np.arange(len(histograms))
    rank = np.random.default_rng(0).permutation(patients.max() + 1)
    return (rank[patients] % 2).astype(np.int64)
