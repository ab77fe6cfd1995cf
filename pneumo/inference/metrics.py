"""The out-of-fold figures of a run, for metrics.json and for the terminal.

Each figure is taken over images: none is a mean of means, and no image counts twice. What is undefined, such
as the Dice on positive images where there are none, is None.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pneumo.dataset.folds import number_patients
from pneumo.inference import decision_rule
from pneumo.inference.bootstrap import DRAWS, interval
from pneumo.inference.decision_rule import DecisionRule, NestedEstimate
from pneumo.inference.histograms import PredictionHistograms

Metrics = dict[str, Any]
COLUMNS = ("dice", "dice_empty", "dice_positive", "sensitivity", "specificity")


def compute_metrics(evidence: PredictionHistograms, nested: NestedEstimate | None = None) -> Metrics:
    """Return the figures, ready for JSON.

    Args:
        evidence: Predictions for all labelled images, each by the network that never saw it.
        nested: ``decision_rule.nested(evidence)`` when it is there already.

    Returns:
        images, positives, patients; ``all_empty``, the Dice of calling every image empty, and ``gain``, what the
        nested Dice has on top of it; ``nested``, the honest figures, and ``in_sample``, those of the final rule on
        the images it was chosen on; each with dice, dice_empty (images without pneumothorax), dice_positive,
        and sensitivity and specificity of the decision whether there is a pneumothorax; 95 % bootstrap intervals
        over patients of the nested dice and gain; ``auc`` of that decision by the head and by the highest
        pixel probability; ``folds``, the same for each fold with the rule that the others chose.
    """
    nested = nested or decision_rule.nested_estimate(evidence)
    groups = number_patients(evidence.patient)
    gain = nested.dice - ~evidence.positive
    return {
        "images": len(evidence),
        "positives": int(evidence.positive.sum()),
        "patients": int(groups.max()) + 1,
        "all_empty": float((~evidence.positive).mean()),
        "gain": float(gain.mean()),
        "gain_interval": list(interval(gain, groups)),
        "nested": {
            **summarise(evidence.positive, nested.dice, nested.predicted_positive),
            "dice_interval": list(interval(nested.dice, groups)),
        },
        "in_sample": {**_by_rule(evidence, nested.final), "rule": nested.final.to_json()},
        "bootstrap_draws": DRAWS,
        "auc": auc(evidence),
        "folds": [_fold(evidence, nested, k) for k in range(len(nested.rules))],
    }


def summarise(
    positive: npt.NDArray[np.bool_], dice: npt.NDArray[np.float64], decided: npt.NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return the mean Dice, its empty and positive parts, and the decision's sensitivity and specificity.

    Args:
        positive: (n,) whether the true mask has a pixel.
        dice: (n,) each image's Dice.
        decided: (n,) whether the predicted mask has a pixel.
    """
    return {
        "dice": float(dice.mean()),
        "dice_empty": _mean(dice[~positive]),
        "dice_positive": _mean(dice[positive]),
        "sensitivity": _mean(decided[positive]),
        "specificity": _mean(~decided[~positive]),
    }


def auc(evidence: PredictionHistograms) -> dict[str, float | None]:
    """Return the area under the ROC curve of "has a pneumothorax", by the head and by the highest pixel."""
    return {
        "head": _auc(evidence.positive, evidence.presence_probability),
        "highest_pixel": _auc(evidence.positive, evidence.max_bin.astype(np.float32)),
    }


def describe(figures: Metrics) -> str:
    """Lay the figures out as a table for the terminal."""
    low, high = figures["nested"]["dice_interval"]
    gain_low, gain_high = figures["gain_interval"]
    rows = [
        (f"fold {fold['fold']}", fold["images"], fold["positives"], *(fold[name] for name in COLUMNS))
        for fold in figures["folds"]
    ]
    counts = figures["images"], figures["positives"]
    rows += [
        (name.replace("_", "-"), *counts, *(figures[name][column] for column in COLUMNS))
        for name in ("nested", "in_sample")
    ]
    lines = [f"{'':<10}{'images':>8}{'positive':>10}" + "".join(f"{name:>15}" for name in COLUMNS)]
    lines += [f"{row[0]:<10}{row[1]:>8}{row[2]:>10}" + "".join(f"{_number(v):>15}" for v in row[3:]) for row in rows]
    rule = DecisionRule.from_json(figures["in_sample"]["rule"])
    return "\n".join(
        [
            *lines,
            f"nested Dice {_number(figures['nested']['dice'])} (95 % interval over {figures['patients']} patients "
            f"{low:.4f} to {high:.4f}), every image empty {figures['all_empty']:.4f}, "
            f"gain {figures['gain']:+.4f} ({gain_low:+.4f} to {gain_high:+.4f})",
            f"AUC of the empty decision: head {_number(figures['auc']['head'])}, "
            f"highest pixel {_number(figures['auc']['highest_pixel'])}",
            f"rule for new images: {rule.describe()}",
        ]
    )


def _fold(evidence: PredictionHistograms, nested: NestedEstimate, k: int) -> Metrics:
    """Return one part's figures under the rule that the other parts chose."""
    index = np.flatnonzero(nested.part == k)
    held_out = evidence.select(index)
    return {
        "fold": int(held_out.fold[0]),
        "images": len(held_out),
        "positives": int(held_out.positive.sum()),
        "all_empty": float((~held_out.positive).mean()),
        **summarise(held_out.positive, nested.dice[index], nested.predicted_positive[index]),
        "auc": auc(held_out),
        "rule": nested.rules[k].to_json(),
    }


def _by_rule(evidence: PredictionHistograms, rule: DecisionRule) -> dict[str, float | None]:
    return summarise(
        evidence.positive, decision_rule.score_images(evidence, rule), decision_rule.predict_presence(evidence, rule)
    )


def _auc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float32]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any() or np.isnan(score).any():
        return None
    return float(roc_auc_score(positive, score))


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
