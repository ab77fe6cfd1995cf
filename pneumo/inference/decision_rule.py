"""The decision rule: when an image is positive, and which of its pixels are its mask.

An image is positive when enough of its pixels reach the top threshold and its presence probability reaches the presence
threshold; its mask is then every pixel that reaches the bottom threshold. Top threshold, minimum area and bottom
threshold are the triplet rule of the SIIM-ACR winner; entries that trained a presence head added its threshold.

Where it scored more on images that it was not fitted to, the decision by expected score takes the place of the
thresholds, which stay beside it: ``expected_score``, ``rule_choice``.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from pneumo.inference.expected_score import ExpectedScore, Features, estimate
from pneumo.inference.histograms import BINS, REFERENCE_PIXELS, PredictionHistograms, dice, equivalent_area, mask_area
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text
from pneumo.runtime.ranges import Fraction

FORMAT_VERSION = 2
"""Of thresholds.json. Version 1 had other names for the rule's fields."""
NEVER = 2.0 * REFERENCE_PIXELS
"""A minimum area that no image reaches: the rule that calls every image empty."""


Threshold = Annotated[float, Interval(ge=1 / BINS, le=(BINS - 1) / BINS)]


@config_dataclass
class RuleInProbabilities:
    """A rule as thresholds.json and metrics.json have it: with thresholds (probabilities) instead of bins."""

    top_threshold: Threshold
    min_area: Annotated[float, Interval(ge=0, le=NEVER)]
    bottom_threshold: Threshold
    presence_threshold: Fraction
    expected_score: ExpectedScore | None = None
    """Decides in place of the thresholds, unless it is None."""

    def __post_init__(self) -> None:
        if self.bottom_threshold > self.top_threshold:
            raise UserError(
                f"bottom_threshold {self.bottom_threshold}",
                f"at most top_threshold {self.top_threshold}",
                "lower bottom_threshold",
            )


@config_dataclass
class _RuleFile:
    """The content of thresholds.json."""

    rule: RuleInProbabilities


@dataclass(frozen=True)
class DecisionRule:
    """When an image is positive, and what its mask is then."""

    top_bin: int
    """Bin (1..255) from which a pixel counts towards the area: the top threshold is ``top_bin`` / 256."""
    min_area: float
    """Minimum area of the pixels that reach the top threshold, in pixels of a 1024x1024 image; at least one pixel is
    needed whatever its value."""
    bottom_bin: int
    """Bin (1..``top_bin``) from which a pixel of a positive image belongs to the mask."""
    presence_threshold: float = 0.0
    """Minimum presence probability, in [0, 1]; not applied to an image without one."""
    expected_score: ExpectedScore | None = None
    """Decides in place of all of these thresholds, unless it is None."""

    def __post_init__(self) -> None:
        assert 1 <= self.bottom_bin <= self.top_bin < BINS, self
        assert self.min_area >= 0, self
        assert 0 <= self.presence_threshold <= 1, self

    def in_probabilities(self) -> RuleInProbabilities:
        """Return the rule as the JSON documents have it."""
        return RuleInProbabilities(
            top_threshold=self.top_bin / BINS,
            min_area=self.min_area,
            bottom_threshold=self.bottom_bin / BINS,
            presence_threshold=self.presence_threshold,
            expected_score=self.expected_score,
        )

    @property
    def is_never(self) -> bool:
        """Whether every image is called empty."""
        return self.expected_score is None and self.min_area >= NEVER

    @classmethod
    def from_probabilities(cls, rule: RuleInProbabilities) -> Self:
        """Make a rule of what ``in_probabilities`` returned."""
        top, bottom = round(rule.top_threshold * BINS), round(rule.bottom_threshold * BINS)
        return cls(top, rule.min_area, bottom, rule.presence_threshold, rule.expected_score)

    def describe(self) -> str:
        """Describe the rule in words."""
        if self.is_never:
            return "every mask is empty"
        if self.expected_score is not None:
            return (
                "positive with a mask whose expected Dice, by the estimates of presence and overlap, is above that of"
                " an empty one; its bottom threshold is the best one for the image"
            )
        values = self.in_probabilities()
        area = f"{self.min_area:g} px (of 1024x1024)" if self.min_area > 0 else "a pixel"
        presence = f" and presence probability >= {self.presence_threshold:.2f}" if self.presence_threshold > 0 else ""
        return (
            f"positive with {area} of probability >= {values.top_threshold:.3f}{presence}; "
            f"the mask is every pixel of probability >= {values.bottom_threshold:.3f}"
        )


def write_rule(path: Path, rule: DecisionRule) -> None:
    """Publish a rule as thresholds.json."""
    content = asdict(_RuleFile(rule=rule.in_probabilities()))
    publish_text(path, json.dumps({"format_version": FORMAT_VERSION, **content}, indent=2) + "\n")


def read_rule(path: Path) -> DecisionRule:
    """Read what ``write_rule`` published.

    Raises:
        UserError: When the file is missing, damaged or of another format version, or a field is missing, unknown or out
            of range.
    """
    content = documents.read_versioned(
        path,
        FORMAT_VERSION,
        expected="the decision rule of a finished run",
        repair="restore the file",
        other_version="use the version of pneumo that wrote it, or train the run again",
    )
    complete_rule(content.get("rule"))
    return DecisionRule.from_probabilities(config.from_json(_RuleFile, content, str(path)).rule)


def complete_rule(rule: Any) -> None:
    """Add what a JSON document of before there was it does not have; what is no rule stays as it is."""
    if isinstance(rule, dict):
        rule.setdefault("expected_score", None)


def mask_bins(
    rule: DecisionRule,
    predicted: npt.NDArray[np.int64],
    pixels: npt.NDArray[np.int64],
    presence_probability: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Return the bin (n,) from which a pixel belongs to each image's mask; 0 where a rule calls the image empty.

    Args:
        rule: The rule.
        predicted: (n, 256) pixels in bin b or above.
        pixels: (n,) all pixels.
        presence_probability: (n,) in [0, 1]; NaN without a presence head.
    """
    if rule.expected_score is not None:
        return estimate(rule.expected_score, Features.of(predicted, pixels, presence_probability)).bins
    count = predicted[:, rule.top_bin]
    large = (count > 0) & (equivalent_area(count, pixels) >= rule.min_area)
    likely = ~(presence_probability.astype(np.float64) < rule.presence_threshold)
    return np.where(large & likely, rule.bottom_bin, 0)


def mask_bin(rule: DecisionRule, counts: npt.NDArray[np.integer[Any]], presence_probability: float) -> int:
    """Return what ``mask_bins`` does for one image.

    Args:
        rule: The rule.
        counts: (256,) pixels in each bin.
        presence_probability: In [0, 1]; NaN without a presence head.
    """
    predicted = np.cumsum(counts[::-1], dtype=np.int64)[None, ::-1]
    # In the histograms' precision, so that both give the same decision at the threshold.
    return int(mask_bins(rule, predicted, predicted[:, 0], np.array([presence_probability], np.float32))[0])


def rule_bins(histograms: PredictionHistograms, rule: DecisionRule) -> npt.NDArray[np.int64]:
    """Return ``mask_bins`` of predictions for n images."""
    return mask_bins(rule, histograms.predicted, histograms.pixels, histograms.presence_probability)


def predict_presence(histograms: PredictionHistograms, rule: DecisionRule) -> npt.NDArray[np.bool_]:
    """Return which images (n,) the rule gives a mask, of which the removal of small components leaves something."""
    return has_mask(histograms, rule_bins(histograms, rule))


def has_mask(histograms: PredictionHistograms, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which masks (n,) that begin with the images' ``bins`` have a pixel; one of 0 is empty."""
    return (bins > 0) & (mask_area(histograms, bins) > 0)


def score_images(histograms: PredictionHistograms, rule: DecisionRule) -> npt.NDArray[np.float64]:
    """Return each image's Dice (n,) under the rule: that of the masks that ``encoding`` makes."""
    return score_bins(histograms, rule_bins(histograms, rule))


def score_bins(histograms: PredictionHistograms, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each image's Dice (n,) when its mask begins with its one of ``bins``, and is empty where that is 0."""
    return np.where(bins > 0, dice(histograms, bins), ~histograms.positive)
