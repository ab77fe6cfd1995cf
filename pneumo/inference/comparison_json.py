"""comparison.json: the variants of a comparison, their scores, and their differences to the first variant."""

import json
from dataclasses import asdict, field
from pathlib import Path

from pneumo.inference.metrics import Auc, Interval95
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.recorded import publish_recorded

FORMAT_VERSION = 1
"""Of comparison.json."""


@config_dataclass
class Difference:
    """A score of a variant minus that of the first one, on the same images."""

    value: float
    interval: Interval95
    standard_error: float
    """Of the value over patients, by the bootstrap."""
    detectable: float
    """The smallest true difference that as many patients would show in 80 % of all samples: 2.8 standard errors."""


@config_dataclass
class Score:
    """A score of a variant."""

    value: float
    interval: Interval95
    difference: Difference | None = None
    """None for the first variant, and where that has no such score."""


@config_dataclass
class ScoredRun:
    """A run of a variant, which its own metrics.json describes in the same numbers."""

    run: str
    """Its directory."""
    seed: int
    dice: float
    """Nested."""
    auc: Auc
    seconds: float
    """Of its epochs and their validations, summed over the folds."""


@config_dataclass
class ScoredVariant:
    """A variant with its scores."""

    name: str
    flags: str
    """What it was made with, as in the file of variants; of runs that were there before the comparison, in what their
    recipe differs from that of the first variant."""
    runs: list[ScoredRun]
    """One for each seed."""
    networks_of: str = ""
    """The earlier variant whose networks these are, and whose training time; empty = its own."""
    scores: dict[str, Score] = field(default_factory=dict)
    """By name: dice (nested), dice_over_empty, dice_positive, sensitivity, specificity, auc_presence_head,
    auc_max_pixel; without those that are undefined."""


@config_dataclass
class Comparison:
    """The content of comparison.json."""

    pneumo: str
    """Version that wrote it."""
    command: str
    hardware: str
    """Of the last start of the command."""
    dataset_digest: str
    """Of the dataset's samples."""
    folds_digest: str
    """Of the assignment of samples to folds."""
    num_folds: int
    """Folds of the dataset."""
    folds: list[int]
    """Folds that were trained and scored."""
    seeds: list[int]
    images: int
    """Images that are scored."""
    positives: int
    patients: int
    dice_all_empty: float
    """Dice of calling every image empty."""
    bootstrap_resamples: int
    variants: list[ScoredVariant]
    """The first one is what the others are compared with."""
    unfinished: list[str]
    """Names of the variants that are still to be trained."""
    caveats: list[str]
    """What makes the scores better than on new images."""


def write(path: Path, comparison: Comparison) -> None:
    """Publish comparison.json."""
    publish_recorded(path, json.dumps({"format_version": FORMAT_VERSION, **asdict(comparison)}, indent=1) + "\n")
