"""The metrics that follow from prediction histograms: of an epoch's validation, and of out-of-fold predictions.

Each metric is taken over images: none is a mean of means, and no image counts twice. What is undefined, such
as the Dice on positive images where there are none, is None.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumo.dataset.patients import number_patients
from pneumo.inference.bootstrap import RESAMPLES, interval
from pneumo.inference.decision_rule import DecisionRule, predict_presence, score_images
from pneumo.inference.histograms import BINS, PredictionHistograms
from pneumo.inference.metrics import Auc, FoldScores, Metrics, NestedScores, RuleScores, Scores, summarize
from pneumo.inference.nested import NestedEstimate, score_subsets
from pneumo.inference.rule_choice import choose
from pneumo.inference.threshold_search import search


def compute_metrics(histograms: PredictionHistograms, nested: NestedEstimate | None = None) -> Metrics:
    """Return the metrics that follow from predictions.

    Args:
        histograms: Predictions for all labeled images, each by a network that was not trained on it.
        nested: ``rule_choice.choose(histograms)``, if it was computed already.
    """
    nested = nested or choose(histograms)
    patients = number_patients(histograms.patient)
    over_empty = nested.dice - ~histograms.positive
    return Metrics(
        images=len(histograms),
        positives=int(histograms.positive.sum()),
        patients=int(patients.max()) + 1,
        dice_all_empty=float((~histograms.positive).mean()),
        dice_over_empty=float(over_empty.mean()),
        dice_over_empty_interval=interval(over_empty, patients),
        nested=NestedScores(
            **summarize(histograms.positive, nested.dice, nested.predicted_positive),
            dice_interval=interval(nested.dice, patients),
        ),
        in_sample=RuleScores(**_by_rule(histograms, nested.final), rule=nested.final.in_probabilities()),
        bootstrap_resamples=RESAMPLES,
        auc=auc(histograms),
        folds=[_fold(histograms, nested, k) for k in range(len(nested.rules))],
        rule_comparison=nested.comparison,
        min_component=histograms.min_component,
    )


def presence_scores(histograms: PredictionHistograms) -> dict[str, npt.NDArray[np.float64]]:
    """Return what tells positive images from negative ones, (n,) in [0, 1] each, by its name in ``Auc``.

    Without a presence head there is the highest pixel alone.
    """
    scores = {
        "presence_head": histograms.presence_probability.astype(np.float64),
        "max_pixel": histograms.max_bin / BINS,
    }
    return {name: score for name, score in scores.items() if np.isfinite(score).all()}


def auc(histograms: PredictionHistograms) -> Auc:
    """Return the area under the ROC curve by the presence head and by the highest pixel."""
    areas = {name: _auc(histograms.positive, score) for name, score in presence_scores(histograms).items()}
    return Auc(presence_head=areas.get("presence_head"), max_pixel=areas["max_pixel"])


def validation_metrics(histograms: PredictionHistograms) -> dict[str, float]:
    """Return the metrics that are logged during training.

    ``dice_best_rule`` is the mean Dice under the best decision rule for these very images: good for comparing epochs,
    and higher than on new images. ``auc`` is that of the presence head, or of the highest pixel without one.
    """
    dice = score_images(histograms, search(histograms))
    areas = auc(histograms)
    area = areas.presence_head if areas.presence_head is not None else areas.max_pixel
    values = {"dice_best_rule": float(dice.mean()), "dice_all_empty": float((~histograms.positive).mean())}
    return values if area is None else {**values, "auc": area}


def score_by_fold_rules(
    histograms: PredictionHistograms, rule_index: npt.NDArray[np.int64], rules: Sequence[DecisionRule]
) -> Scores:
    """Return the scores when each image is scored by its own rule.

    Args:
        histograms: Predictions for n images.
        rule_index: (n,): which of ``rules`` scores each image.
        rules: The rules.
    """
    scored = score_subsets(histograms, rule_index, rules, rules[0])
    return Scores(**summarize(histograms.positive, scored.dice, scored.predicted_positive))


def _fold(histograms: PredictionHistograms, nested: NestedEstimate, k: int) -> FoldScores:
    index = np.flatnonzero(nested.rule_index == k)
    selected = histograms.select(index)
    return FoldScores(
        fold=int(selected.fold[0]),
        images=len(selected),
        positives=int(selected.positive.sum()),
        dice_all_empty=float((~selected.positive).mean()),
        **summarize(selected.positive, nested.dice[index], nested.predicted_positive[index]),
        auc=auc(selected),
        rule=nested.rules[k].in_probabilities(),
    )


def _by_rule(histograms: PredictionHistograms, rule: DecisionRule) -> dict[str, Any]:
    return summarize(histograms.positive, score_images(histograms, rule), predict_presence(histograms, rule))


def _auc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, score))
