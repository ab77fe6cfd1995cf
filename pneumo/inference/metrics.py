"""metrics.json, and its table for the terminal: the metrics of the out-of-fold predictions of a run or of a blend.

What is undefined, such as the Dice on positive images where there are none, is None.
"""

import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from pneumo.inference.decision_rule import DecisionRule, RuleInProbabilities, complete_rule
from pneumo.masks import metric
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import counted
from pneumo.runtime.files import publish_text
from pneumo.runtime.ranges import Fraction

FORMAT_VERSION = 3
"""Of metrics.json. Version 2 did not say how many networks are averaged."""
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
    """By the highest pixel probability."""


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
class RuleComparison:
    """The kinds of decision rules, each chosen or fitted on other folds than those that it scores."""

    thresholds: Scores
    """Of the thresholds of pixels, area and presence alone."""
    expected_score: Scores
    """Of the decision by expected score alone."""
    difference: float
    """Dice of ``expected_score`` minus that of ``thresholds``."""
    difference_interval: Interval95
    """Paired: both score the same images of the resampled patients."""
    chosen: Literal["thresholds", "expected score"]
    """For new images: the kind with the higher Dice; the thresholds where they are equal. The kind that scores a fold
    is chosen likewise, on the other folds."""


@config_dataclass
class SubmissionRule:
    """The rule of the mean of all folds' networks, for submissions and new images: ``in_sample.rule``, moved."""

    rule: RuleInProbabilities
    """``in_sample.rule`` itself where it suits the mean, or too few images are positive to tell."""
    images: Annotated[int, Interval(ge=1)]
    """Test images on which it was found."""
    positive_share_of_networks: Fraction
    """Share of the images that the rule before calls positive by the networks of a fold, on average over the folds."""
    positive_share_before: Fraction
    """Share that the rule before calls positive by the mean of all networks."""
    positive_share: Fraction
    """Share that this rule calls positive by it."""
    enough_positive: bool
    """Whether the networks call enough of the images positive to say where the rule belongs; if not, it stays."""


@config_dataclass
class BlendedRun:
    """A run of a blend."""

    run: str
    """Its directory."""
    weight: float
    """Of the run in the mean; those of all runs sum to 1."""
    nested_dice: float
    """Of the run alone, from its own metrics.json."""


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
    rule_comparison: RuleComparison | None = None
    """None in files of before rules were compared."""
    submission_rule: SubmissionRule | None = None
    """None where ``in_sample.rule`` decides about submissions too: with a single fold, on a dataset without test
    images, where it calls every image empty, and in files of before rules were moved."""
    networks: int = 1
    """Networks that each out-of-fold prediction is the mean of: one for a run; one of each run for a blend."""
    submission_networks: int = 1
    """Networks that a submission is the mean of: those of all folds."""
    runs: list[BlendedRun] = field(default_factory=list)
    """The runs of a blend."""
    mean_of_rules: Scores | None = None
    """Of a blend, as ``nested``, but each fold by the mean of the rules that the runs' own predictions chose on the
    other folds: what the blend's own rule brings is ``nested`` minus this."""
    min_component: float = 0.0
    """Components smaller than this are removed from the masks that are scored, in pixels of a 1024x1024 image; 0 =
    none, and in files of versions that scored masks with all of them."""
    excluded: int = 0
    """Damaged labeled images that the run leaves out."""
    caveats: list[str] = field(default_factory=list)
    """What makes the metrics better than on new images."""
    oof_csv_dice: float | None = None
    """Mean Dice computed from oof.csv; None without that file."""


def summarize(
    positive: npt.NDArray[np.bool_], dice: npt.NDArray[np.float64], predicted_positive: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the metrics of ``COLUMNS`` over images (n,), with None where they are undefined."""
    summary = metric.summarize(positive, dice, predicted_positive)
    return {name: getattr(summary, name) for name in COLUMNS}


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
    _complete(content)
    return config.from_json(Metrics, content, str(path))


def _complete(content: dict[str, Any]) -> None:
    """Add what files of before rules were compared, and small components were removed, do not have."""
    content.setdefault("rule_comparison", None)
    content.setdefault("min_component", 0.0)
    moved = content.setdefault("submission_rule", None)
    if isinstance(moved, dict):
        moved.setdefault("enough_positive", True)
    folds = content.get("folds")
    for scores in (content.get("in_sample"), *(folds if isinstance(folds, list) else [])):
        complete_rule(scores.get("rule") if isinstance(scores, dict) else None)


def rule_for_new_images(metrics: Metrics) -> DecisionRule:
    """Return the rule for submissions and new images, that of thresholds.json."""
    moved = metrics.submission_rule
    return DecisionRule.from_probabilities(metrics.in_sample.rule if moved is None else moved.rule)


def describe(metrics: Metrics) -> str:
    """Format the metrics as a table for the terminal."""
    low, high = metrics.nested.dice_interval
    over_low, over_high = metrics.dice_over_empty_interval
    scored: list[tuple[str, FoldScores | Metrics, Scores]] = [(f"fold {f.fold}", f, f) for f in metrics.folds]
    scored += [("nested", metrics, metrics.nested), ("in-sample", metrics, metrics.in_sample)]
    scored += [] if metrics.mean_of_rules is None else [("mean rule", metrics, metrics.mean_of_rules)]
    rows = [
        (name, counts.images, counts.positives, *(getattr(scores, column) for column in COLUMNS))
        for name, counts, scores in scored
    ]
    lines = [f"{'':<10}{'images':>8}{'positive':>10}" + "".join(f"{name:>15}" for name in COLUMNS)]
    lines += [f"{row[0]:<10}{row[1]:>8}{row[2]:>10}" + "".join(f"{_number(v):>15}" for v in row[3:]) for row in rows]
    return "\n".join(
        [
            *lines,
            f"nested Dice {_number(metrics.nested.dice)} (95 % interval over {counted(metrics.patients, 'patient')} "
            f"{low:.4f} to {high:.4f}), every image empty {metrics.dice_all_empty:.4f}, "
            f"difference {metrics.dice_over_empty:+.4f} ({over_low:+.4f} to {over_high:+.4f})",
            f"AUC of pneumothorax or not: presence head {_number(metrics.auc.presence_head)}, "
            f"highest pixel {_number(metrics.auc.max_pixel)}",
            f"out-of-fold predictions are of {counted(metrics.networks, 'network')}, submissions are means of"
            f" {metrics.submission_networks}",
            *([] if metrics.rule_comparison is None else [describe_comparison(metrics.rule_comparison)]),
            *([] if metrics.submission_rule is None else [describe_move(metrics.submission_rule)]),
            f"rule for new images: {rule_for_new_images(metrics).describe()}",
        ]
    )


def describe_move(moved: SubmissionRule) -> str:
    """Say how many images are positive by the networks of a fold and by the mean, and whether the rule was moved."""
    shares = (
        f"of {counted(moved.images, 'test image')} the networks of a fold call {moved.positive_share_of_networks:.1%}"
        " positive, on average over the folds, and the mean of all networks"
        f" {moved.positive_share_before:.1%} by the same rule"
    )
    if moved.enough_positive:
        return f"{shares}, {moved.positive_share:.1%} by its own rule"
    return f"{shares}, which is not moved: too few are positive to say where it belongs for the mean"


def describe_comparison(comparison: RuleComparison) -> str:
    """Say which kind of rule scores more, and by how much."""
    low, high = comparison.difference_interval
    return (
        f"nested Dice by thresholds {comparison.thresholds.dice:.4f}, by expected score"
        f" {comparison.expected_score.dice:.4f}, difference {comparison.difference:+.4f} ({low:+.4f} to {high:+.4f});"
        f" new images are decided by {comparison.chosen}, and each fold by the kind that was better on the others"
    )


def other_removal(scored: float, min_component: float) -> list[str]:
    """Say that masks lose other small components than those that are scored; return nothing where they do not.

    Args:
        scored: Components smaller than this are removed from the masks that are scored, in pixels of a 1024x1024 image.
        min_component: The same of the masks that are made.
    """
    if scored == min_component:
        return []
    made = (
        f"lose their components below {min_component:g} px (of 1024x1024)"
        if min_component
        else "keep their small components"
    )
    those = f"lose those below {scored:g} px" if scored else "keep all of theirs"
    return [f"masks {made}, while the metrics are of masks that {those}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
