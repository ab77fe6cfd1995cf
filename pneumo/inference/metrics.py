"""The metrics of validation and of a run's out-of-fold predictions, metrics.json, and a table for the terminal.

Each metric is taken over images: none is a mean of means, and no image counts twice. What is undefined, such
as the Dice on positive images where there are none, is None.
"""

import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumo.dataset.patients import number_patients
from pneumo.inference.bootstrap import RESAMPLES, interval
from pneumo.inference.decision_rule import DecisionRule, RuleInProbabilities, predict_presence, score_images
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.threshold_search import NestedEstimate, nested_estimate, search
from pneumo.masks import metric
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.files import publish_text

FORMAT_VERSION = 2
"""Of metrics.json. Version 1 had other names for the same values."""
COLUMNS = ("dice", "dice_empty", "dice_positive", "sensitivity", "specificity")
Interval95 = tuple[float, float]
"""95 % bootstrap interval over patients."""


@config_dataclass
class Scores:
    """Means over images under a decision rule; None without an image to take the mean of."""

    dice: float
    dice_empty: float | None
    """Over images without pneumothorax."""
    dice_positive: float | None
    sensitivity: float | None
    """Of whether there is a pneumothorax, as the specificity."""
    specificity: float | None


@config_dataclass
class NestedScores(Scores):
    """Scores in which no image was scored by a rule that it helped to choose."""

    dice_interval: Interval95


@config_dataclass
class RuleScores(Scores):
    """Scores of one rule."""

    rule: RuleInProbabilities


@config_dataclass
class Auc:
    """Areas under the ROC curve of "has a pneumothorax"; None where undefined."""

    presence_head: float | None
    max_pixel: float | None
    """By the maximum pixel probability."""


@config_dataclass
class _FoldCounts:
    fold: int
    images: int
    positives: int
    dice_all_empty: float


@config_dataclass
class FoldScores(Scores, _FoldCounts):
    """Scores of a fold's images by the rule that was chosen on the other folds."""

    auc: Auc
    rule: RuleInProbabilities


@config_dataclass
class Metrics:
    """The content of metrics.json."""

    images: int
    positives: int
    patients: int
    dice_all_empty: float
    """Dice of calling every image empty."""
    dice_over_empty: float
    """Nested Dice minus ``dice_all_empty``."""
    dice_over_empty_interval: Interval95
    nested: NestedScores
    in_sample: RuleScores
    """Of the final rule, on the images that it was chosen on."""
    bootstrap_resamples: int
    auc: Auc
    folds: list[FoldScores]
    excluded: int = 0
    """Damaged training images that the run leaves out."""
    caveats: list[str] = field(default_factory=list)
    """What makes the metrics better than on new images."""
    oof_csv_dice: float | None = None
    """Mean Dice computed from oof.csv; None without that file."""


def compute_metrics(histograms: PredictionHistograms, nested: NestedEstimate | None = None) -> Metrics:
    """Return the metrics that follow from predictions.

    Args:
        histograms: Predictions for all labeled images, each by a network that was not trained on it.
        nested: ``nested_estimate(histograms)``, if it was computed already.
    """
    nested = nested or nested_estimate(histograms)
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
            **_summarize(histograms.positive, nested.dice, nested.predicted_positive),
            dice_interval=interval(nested.dice, patients),
        ),
        in_sample=RuleScores(**_by_rule(histograms, nested.final), rule=nested.final.in_probabilities()),
        bootstrap_resamples=RESAMPLES,
        auc=auc(histograms),
        folds=[_fold(histograms, nested, k) for k in range(len(nested.rules))],
    )


def auc(histograms: PredictionHistograms) -> Auc:
    """Return the area under the ROC curve by the presence head and by the maximum pixel."""
    return Auc(
        presence_head=_auc(histograms.positive, histograms.presence_probability),
        max_pixel=_auc(histograms.positive, histograms.max_bin.astype(np.float32)),
    )


def validation_metrics(histograms: PredictionHistograms) -> dict[str, float]:
    """Return the metrics that are logged during training.

    ``dice_best_rule`` is the mean Dice under the best decision rule for these very images: good for comparing epochs,
    and higher than on new images. ``auc`` is that of the presence head, or of the maximum pixel without one.
    """
    dice = score_images(histograms, search(histograms))
    areas = auc(histograms)
    area = areas.presence_head if areas.presence_head is not None else areas.max_pixel
    values = {"dice_best_rule": float(dice.mean()), "dice_all_empty": float((~histograms.positive).mean())}
    return values if area is None else {**values, "auc": area}


def write(path: Path, metrics: Metrics) -> None:
    """Publish metrics.json."""
    publish_text(path, json.dumps({"format_version": FORMAT_VERSION, **asdict(metrics)}, indent=2) + "\n")


def read(path: Path) -> Metrics:
    """Read metrics.json.

    Raises:
        UserError: When it is missing, damaged, incomplete or of another format version.
    """
    content = documents.read_versioned(
        path,
        FORMAT_VERSION,
        expected="the metrics of a finished run",
        repair="restore the file",
        other_version="use the version of pneumo that wrote it, or train the run again",
    )
    return config.from_json(Metrics, content, str(path))


def describe(metrics: Metrics) -> str:
    """Format the metrics as a table for the terminal."""
    low, high = metrics.nested.dice_interval
    over_low, over_high = metrics.dice_over_empty_interval
    counted: list[tuple[str, FoldScores | Metrics, Scores]] = [(f"fold {f.fold}", f, f) for f in metrics.folds]
    counted += [("nested", metrics, metrics.nested), ("in-sample", metrics, metrics.in_sample)]
    rows = [
        (name, counts.images, counts.positives, *(getattr(scores, column) for column in COLUMNS))
        for name, counts, scores in counted
    ]
    lines = [f"{'':<10}{'images':>8}{'positive':>10}" + "".join(f"{name:>15}" for name in COLUMNS)]
    lines += [f"{row[0]:<10}{row[1]:>8}{row[2]:>10}" + "".join(f"{_number(v):>15}" for v in row[3:]) for row in rows]
    rule = DecisionRule.from_probabilities(metrics.in_sample.rule)
    return "\n".join(
        [
            *lines,
            f"nested Dice {_number(metrics.nested.dice)} (95 % interval over {metrics.patients} patients "
            f"{low:.4f} to {high:.4f}), every image empty {metrics.dice_all_empty:.4f}, "
            f"difference {metrics.dice_over_empty:+.4f} ({over_low:+.4f} to {over_high:+.4f})",
            f"AUC of pneumothorax or not: presence head {_number(metrics.auc.presence_head)}, "
            f"maximum pixel {_number(metrics.auc.max_pixel)}",
            f"rule for new images: {rule.describe()}",
        ]
    )


def _fold(histograms: PredictionHistograms, nested: NestedEstimate, k: int) -> FoldScores:
    index = np.flatnonzero(nested.rule_index == k)
    selected = histograms.select(index)
    return FoldScores(
        fold=int(selected.fold[0]),
        images=len(selected),
        positives=int(selected.positive.sum()),
        dice_all_empty=float((~selected.positive).mean()),
        **_summarize(selected.positive, nested.dice[index], nested.predicted_positive[index]),
        auc=auc(selected),
        rule=nested.rules[k].in_probabilities(),
    )


def _by_rule(histograms: PredictionHistograms, rule: DecisionRule) -> dict[str, Any]:
    return _summarize(histograms.positive, score_images(histograms, rule), predict_presence(histograms, rule))


def _summarize(
    positive: npt.NDArray[np.bool_], dice: npt.NDArray[np.float64], predicted_positive: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the metrics of ``COLUMNS`` over images (n,), with None where they are undefined."""
    summary = metric.summarize(positive, dice, predicted_positive)
    return {name: getattr(summary, name) for name in COLUMNS}


def _auc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float32]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any() or np.isnan(score).any():
        return None
    return float(roc_auc_score(positive, score))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
