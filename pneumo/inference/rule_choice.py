"""The choice between two kinds of decision rules: searched thresholds, and the decision by expected score.

Nested as every choice: the kind of rule that scores fold k is the one that scores more on the other folds, where each
of them was scored by a rule that was chosen, or fitted, without it. So each image is scored by a rule, and by a kind of
rule, that it had no part in. All rules are chosen on unions of *parts*: the folds, or halves of them where there are
fewer than three.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from os import PathLike
from typing import Literal

import numpy as np
import numpy.typing as npt

from pneumo.dataset.patients import number_patients
from pneumo.inference.bootstrap import interval
from pneumo.inference.decision_rule import DecisionRule, rule_bins
from pneumo.inference.expected_score import Estimates, Features, estimate
from pneumo.inference.expected_score_fit import fit
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import Metrics, RuleComparison, Scores, summarize
from pneumo.inference.nested import Judged, NestedEstimate, assign_subsets, gather, halve, score_subsets
from pneumo.inference.threshold_search import DECIMALS, SearchGrid, best, fit_grid, sum_dice_over_empty
from pneumo.runtime.errors import UserError, counted

Kind = Literal["thresholds", "expected score"]
Parts = frozenset[int]
SAME_DICE = 1e-6
"""Scores of the same masks differ by rounding alone; one mask more or less of 10,000 images changes it by 1e-4."""


def choose(histograms: PredictionHistograms, grid: SearchGrid | None = None) -> NestedEstimate:
    """Choose the rule for new images, and score each fold by the rule that is chosen likewise on the other folds.

    With a single fold, its patients (its images, if they are of one patient) are divided into two halves, each scored
    by the rule chosen on the other.

    Raises:
        UserError: With fewer than two images.
    """
    grid = fit_grid(grid or SearchGrid(), histograms)
    subset = assign_subsets(histograms)
    rules = _Rules.of(histograms, grid, subset)
    held = [frozenset(rules.part[subset == k].tolist()) for k in range(int(subset.max()) + 1)]
    others = [[parts for parts in held if parts is not one] for one in held]
    kinds: list[Kind] = [rules.better(apart if len(apart) > 1 else _single(apart)) for apart in others]
    both = [rules.both(_union(apart)) for apart in others]
    kind = rules.better(held)
    nested = gather(
        subset,
        [_of_kind(kind, each) for kind, each in zip(kinds, both, strict=True)],
        _of_kind(kind, rules.both(_union(held))).rule,
    )
    return replace(
        nested,
        comparison=_compare(histograms, subset, both, kind),
        estimates=_estimates(rules.features, subset, [by_score.rule for _, by_score in both]),
    )


def apply_recorded(
    histograms: PredictionHistograms, found: Metrics, where: str | PathLike[str] = "metrics.json"
) -> NestedEstimate:
    """Score the images of a finished run by the rules that its metrics record: a version of pneumo may choose others.

    Args:
        histograms: Its out-of-fold predictions.
        found: Its metrics.
        where: The file of the metrics, for messages.

    Raises:
        UserError: When the metrics are of other images or other predictions.
    """
    subset = assign_subsets(histograms)
    if [scores.images for scores in found.folds] != np.bincount(subset).tolist():
        raise UserError(
            f"{where} has metrics of {counted(found.images, 'image')} in {counted(len(found.folds), 'part')}, and"
            f" out-of-fold predictions of {counted(len(histograms), 'image')} in {int(subset.max()) + 1}",
            "metrics.json and fold-*/oof.parquet of one run",
            "restore these files from a copy of the run",
        )
    rules = [DecisionRule.from_probabilities(scores.rule) for scores in found.folds]
    nested = score_subsets(histograms, subset, rules, DecisionRule.from_probabilities(found.in_sample.rule))
    _check_same_scores(histograms, nested, subset, found, where)
    if found.rule_comparison is None:
        return nested
    # The fits of rules by thresholds are not recorded, since they decide nothing.
    features = _features(histograms)
    fits = [rule.expected_score or fit(histograms, features, subset != k) for k, rule in enumerate(rules)]
    by_score = [replace(rule, expected_score=each) for rule, each in zip(rules, fits, strict=True)]
    return replace(nested, comparison=found.rule_comparison, estimates=_estimates(features, subset, by_score))


def _check_same_scores(
    histograms: PredictionHistograms,
    nested: NestedEstimate,
    subset: npt.NDArray[np.int64],
    found: Metrics,
    where: str | PathLike[str],
) -> None:
    """Refuse metrics of another run of the same folds, whose rules would score these predictions silently."""
    scored = [nested.dice.mean(), *(nested.dice[subset == k].mean() for k in range(len(found.folds)))]
    recorded = [found.nested.dice, *(fold.dice for fold in found.folds)]
    positives = [int(histograms.positive.sum()), *np.bincount(subset, histograms.positive).astype(int).tolist()]
    is_same = found.images == len(histograms) and positives == [
        found.positives,
        *(fold.positives for fold in found.folds),
    ]
    if is_same and np.allclose(scored, recorded, rtol=0, atol=SAME_DICE):
        return
    raise UserError(
        f"{where} has a nested Dice of {found.nested.dice:.4f}, and the out-of-fold predictions beside it have"
        f" {scored[0]:.4f} by the rules in it",
        "metrics.json and fold-*/oof.parquet of one run",
        "restore these files from a copy of the run, or remove metrics.json and start the run's training command again,"
        " which writes it anew",
    )


def _union(parts: Iterable[Parts]) -> Parts:
    return frozenset().union(*parts)


def _single(apart: Sequence[Parts]) -> list[Parts]:
    """Divide the one other subset into its own parts."""
    return [frozenset([part]) for part in sorted(apart[0])]


def _of_kind(kind: Kind, both: tuple[Judged, Judged]) -> Judged:
    return both[kind == "expected score"]


def _features(histograms: PredictionHistograms) -> Features:
    return Features.of(histograms.predicted, histograms.pixels, histograms.presence_probability)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Rules:
    """The rules chosen on each union of parts, both kinds, each once, and what they make of all images."""

    histograms: PredictionHistograms
    features: Features
    grid: SearchGrid
    part: npt.NDArray[np.int64]
    """(n,): the part of each image."""
    sums: npt.NDArray[np.float64]
    """Of ``sum_dice_over_empty``, by part."""
    found: dict[Parts, tuple[Judged, Judged]] = field(default_factory=dict)

    @classmethod
    def of(cls, histograms: PredictionHistograms, grid: SearchGrid, subset: npt.NDArray[np.int64]) -> "_Rules":
        """Divide the images into parts: the subsets, or halves of them where there are two."""
        part = subset
        if subset.max() < 2:
            part = 2 * subset
            for k in range(2):
                index = np.flatnonzero(subset == k)
                part[index] += halve(histograms.select(index))
            part = np.unique(part, return_inverse=True)[1].astype(np.int64)
        return cls(
            histograms=histograms,
            features=_features(histograms),
            grid=grid,
            part=part,
            sums=sum_dice_over_empty(histograms, grid, part),
        )

    def both(self, parts: Parts) -> tuple[Judged, Judged]:
        """Return the thresholds chosen on the images of some parts, and the decision by expected score fitted to them.

        Where nothing can be fitted, the latter is the thresholds again.
        """
        if parts not in self.found:
            index = sorted(parts)
            mine = np.isin(self.part, index)
            thresholds = best(reduce(np.add, (self.sums[k] for k in index)), int(mine.sum()), self.grid)
            by_score = replace(thresholds, expected_score=fit(self.histograms, self.features, mine))
            self.found[parts] = self._judge(thresholds), self._judge(by_score)
        return self.found[parts]

    def _judge(self, rule: DecisionRule) -> Judged:
        if rule.expected_score is None:
            return Judged.by(rule, self.histograms, rule_bins(self.histograms, rule))
        return Judged.by(rule, self.histograms, estimate(rule.expected_score, self.features).bins)

    def better(self, apart: Sequence[Parts]) -> Kind:
        """Return the kind that scores more when the images of each of several unions are scored by the others' rule."""
        if len(apart) < 2:
            return "thresholds"
        total, gain = 0, 0.0
        for one in apart:
            scored = np.isin(self.part, sorted(one))
            thresholds, by_score = self.both(_union(parts for parts in apart if parts is not one))
            gain += float((by_score.dice[scored] - thresholds.dice[scored]).sum())
            total += int(scored.sum())
        return "expected score" if round(gain / total, DECIMALS) > 0 else "thresholds"


def _compare(
    histograms: PredictionHistograms,
    subset: npt.NDArray[np.int64],
    rules: Sequence[tuple[Judged, Judged]],
    chosen: Kind,
) -> RuleComparison:
    """Score each subset by both of its rules."""
    thresholds, by_score = (gather(subset, of_kind, of_kind[0].rule) for of_kind in zip(*rules, strict=True))
    difference = by_score.dice - thresholds.dice
    return RuleComparison(
        thresholds=_scores(histograms, thresholds),
        expected_score=_scores(histograms, by_score),
        difference=float(difference.mean()),
        difference_interval=interval(difference, number_patients(histograms.patient)),
        chosen=chosen,
    )


def _scores(histograms: PredictionHistograms, nested: NestedEstimate) -> Scores:
    return Scores(**summarize(histograms.positive, nested.dice, nested.predicted_positive))


def _estimates(features: Features, subset: npt.NDArray[np.int64], rules: Sequence[DecisionRule]) -> Estimates | None:
    """Estimate each image by the rule of its subset."""
    n = len(subset)
    joined = Estimates(presence=np.empty(n), mask_bin=np.empty(n, np.int64), dice=np.empty(n))
    for k, rule in enumerate(rules):
        if rule.expected_score is None:
            return None
        found = estimate(rule.expected_score, features.select(subset == k))
        for name in ("presence", "mask_bin", "dice"):
            getattr(joined, name)[subset == k] = getattr(found, name)
    return joined
