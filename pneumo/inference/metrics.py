"""The metrics of validation and of a run's out-of-fold predictions, metrics.json, and a table for the terminal.

Each metric is taken over images: none is a mean of means, and no image counts twice. What is undefined, such
as the Dice on positive images where there are none, is None.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumo.dataset.folds import number_patients
from pneumo.inference.bootstrap import DRAWS, interval
from pneumo.inference.decision_rule import DecisionRule, predict_presence, score_images
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.threshold_search import NestedEstimate, nested_estimate, search
from pneumo.masks.metric import summarize_images
from pneumo.runtime import documents
from pneumo.runtime.files import publish_text

FORMAT_VERSION = 2
"""Of metrics.json. Version 1 had other names for the same values."""
Metrics = dict[str, Any]
COLUMNS = ("dice", "dice_empty", "dice_positive", "sensitivity", "specificity")


def compute_metrics(histograms: PredictionHistograms, nested: NestedEstimate | None = None) -> Metrics:
    """Return the metrics, ready for JSON.

    Args:
        histograms: Predictions for all labeled images, each by a network that was not trained on it.
        nested: ``nested_estimate(histograms)``, if it was computed already.

    Returns:
        ``images``, ``positives``, ``patients``: counts.
        ``dice_all_empty``: Dice of calling every image empty.
        ``dice_over_empty``: nested Dice minus ``dice_all_empty``.
        ``nested``: metrics in which no image was scored by a rule that it helped to choose: dice, dice_empty (images
        without pneumothorax), dice_positive, sensitivity and specificity of whether there is a pneumothorax.
        ``in_sample``: the same of the final rule, on the images that it was chosen on.
        ``..._interval``: 95 % bootstrap interval over patients.
        ``auc``: area under the ROC curve of the presence head and of the maximum pixel probability.
        ``folds``: the same for each fold, with the rule that was chosen on the other folds.
    """
    nested = nested or nested_estimate(histograms)
    patients = number_patients(histograms.patient)
    over_empty = nested.dice - ~histograms.positive
    return {
        "images": len(histograms),
        "positives": int(histograms.positive.sum()),
        "patients": int(patients.max()) + 1,
        "dice_all_empty": float((~histograms.positive).mean()),
        "dice_over_empty": float(over_empty.mean()),
        "dice_over_empty_interval": list(interval(over_empty, patients)),
        "nested": {
            **_summarize(histograms.positive, nested.dice, nested.predicted_positive),
            "dice_interval": list(interval(nested.dice, patients)),
        },
        "in_sample": {**_by_rule(histograms, nested.final), "rule": nested.final.to_json()},
        "bootstrap_draws": DRAWS,
        "auc": auc(histograms),
        "folds": [_fold(histograms, nested, k) for k in range(len(nested.rules))],
    }


def auc(histograms: PredictionHistograms) -> dict[str, float | None]:
    """Return the area under the ROC curve of "has a pneumothorax", by the presence head and by the maximum pixel."""
    return {
        "presence_head": _auc(histograms.positive, histograms.presence_probability),
        "max_pixel": _auc(histograms.positive, histograms.max_bin.astype(np.float32)),
    }


def validation_metrics(histograms: PredictionHistograms) -> dict[str, float]:
    """Return the metrics that are logged during training.

    ``dice_best_rule`` is the mean Dice under the best decision rule for these very images: good for comparing epochs,
    and higher than on new images. ``auc`` is that of the presence head, or of the maximum pixel without one.
    """
    dice = score_images(histograms, search(histograms))
    areas = auc(histograms)
    area = areas["presence_head"] if areas["presence_head"] is not None else areas["max_pixel"]
    values = {"dice_best_rule": float(dice.mean()), "dice_all_empty": float((~histograms.positive).mean())}
    return values if area is None else {**values, "auc": area}


def write(path: Path, metrics: Metrics) -> None:
    """Publish metrics.json."""
    publish_text(path, json.dumps({"format_version": FORMAT_VERSION, **metrics}, indent=2) + "\n")


def read(path: Path) -> Metrics:
    """Read metrics.json.

    Raises:
        UserError: When it is missing, damaged or of another format version.
    """
    return documents.read_versioned(
        path,
        FORMAT_VERSION,
        expected="the metrics of a finished run",
        repair="restore the file",
        other_version="use the version of pneumo that wrote it, or train the run again",
    )


def describe(metrics: Metrics) -> str:
    """Format the metrics as a table for the terminal."""
    low, high = metrics["nested"]["dice_interval"]
    over_low, over_high = metrics["dice_over_empty_interval"]
    rows = [
        (f"fold {fold['fold']}", fold["images"], fold["positives"], *(fold[name] for name in COLUMNS))
        for fold in metrics["folds"]
    ]
    counts = metrics["images"], metrics["positives"]
    rows += [
        (name.replace("_", "-"), *counts, *(metrics[name][column] for column in COLUMNS))
        for name in ("nested", "in_sample")
    ]
    lines = [f"{'':<10}{'images':>8}{'positive':>10}" + "".join(f"{name:>15}" for name in COLUMNS)]
    lines += [f"{row[0]:<10}{row[1]:>8}{row[2]:>10}" + "".join(f"{_number(v):>15}" for v in row[3:]) for row in rows]
    rule = DecisionRule.from_json(metrics["in_sample"]["rule"], "in_sample.rule")
    return "\n".join(
        [
            *lines,
            f"nested Dice {_number(metrics['nested']['dice'])} (95 % interval over {metrics['patients']} patients "
            f"{low:.4f} to {high:.4f}), every image empty {metrics['dice_all_empty']:.4f}, "
            f"difference {metrics['dice_over_empty']:+.4f} ({over_low:+.4f} to {over_high:+.4f})",
            f"AUC of pneumothorax or not: presence head {_number(metrics['auc']['presence_head'])}, "
            f"maximum pixel {_number(metrics['auc']['max_pixel'])}",
            f"rule for new images: {rule.describe()}",
        ]
    )


def _fold(histograms: PredictionHistograms, nested: NestedEstimate, k: int) -> Metrics:
    """Return the metrics of one subset under the rule that was chosen on the others."""
    index = np.flatnonzero(nested.rule_index == k)
    selected = histograms.select(index)
    return {
        "fold": int(selected.fold[0]),
        "images": len(selected),
        "positives": int(selected.positive.sum()),
        "dice_all_empty": float((~selected.positive).mean()),
        **_summarize(selected.positive, nested.dice[index], nested.predicted_positive[index]),
        "auc": auc(selected),
        "rule": nested.rules[k].to_json(),
    }


def _by_rule(histograms: PredictionHistograms, rule: DecisionRule) -> dict[str, float | None]:
    return _summarize(histograms.positive, score_images(histograms, rule), predict_presence(histograms, rule))


def _summarize(
    positive: npt.NDArray[np.bool_], dice: npt.NDArray[np.float64], predicted_positive: npt.NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return the metrics of ``COLUMNS`` over images (n,), with None where they are undefined."""
    images = zip(dice.tolist(), positive.tolist(), predicted_positive.tolist(), strict=True)
    summary = summarize_images(list(images))
    values = {name: getattr(summary, name) for name in COLUMNS}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _auc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float32]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any() or np.isnan(score).any():
        return None
    return float(roc_auc_score(positive, score))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
