"""The decision rule pixel by pixel, and predictions that lie exactly on the values of a grid of rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from plain_histograms import histogram, quantize

from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import PredictionHistograms

SIDE = 8
PIXEL = 16384.0
"""What each of the 8x8 pixels counts as in a 1024x1024 image."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image's prediction and its truth."""

    probability: npt.NDArray[np.float32]
    truth: npt.NDArray[np.bool_]
    presence: float
    """NaN without a presence head."""


def plain_mask(example: Example, rule: DecisionRule) -> list[bool]:
    """Return the mask that the rule makes, pixel after pixel, in exact fractions."""
    pixels = [Fraction(float(p)) for p in example.probability.ravel()]
    count = sum(p >= Fraction(rule.top_bin, 256) for p in pixels)
    large = count >= 1 and Fraction(count * 1024 * 1024, len(pixels)) >= Fraction(rule.min_area)
    likely = example.presence != example.presence or Fraction(example.presence) >= Fraction(rule.presence_threshold)
    return [large and likely and p >= Fraction(rule.bottom_bin, 256) for p in pixels]


def plain_dice(mask: Sequence[bool], truth: npt.NDArray[np.bool_]) -> float:
    """Return the competition's Dice."""
    size = sum(mask) + int(truth.sum())
    return 2 * sum(m and t for m, t in zip(mask, truth.ravel().tolist(), strict=True)) / size if size else 1.0


def example(counts: dict[float, int], *, true_pixels: int, presence: float = float("nan")) -> Example:
    """Make an image with so many pixels of each probability, from the first on; the true mask is the first pixels."""
    probability, truth = np.zeros(SIDE * SIDE, np.float32), np.zeros(SIDE * SIDE, np.bool_)
    values = np.repeat(list(counts.keys()), list(counts.values()))
    probability[: len(values)], truth[:true_pixels] = values, True
    return Example(probability.reshape(SIDE, SIDE), truth.reshape(SIDE, SIDE), presence)


def to_histograms(examples: Sequence[Example]) -> PredictionHistograms:
    """Return the histograms of images, each of a fold and a patient of its own."""
    counts = np.stack([histogram(quantize(each.probability), each.truth) for each in examples]).astype(np.int32)
    numbers = np.arange(len(examples))
    return PredictionHistograms(
        image_id=np.array([f"1.2.{number}" for number in numbers]),
        fold=numbers.astype(np.int16),
        patient=numbers.astype(np.int32),
        positive=np.array([each.truth.any() for each in examples]),
        pixels=np.full(len(examples), SIDE * SIDE, np.int64),
        presence_probability=np.array([each.presence for each in examples], np.float32),
        inside=counts[:, 1],
        outside=counts[:, 0],
    )


ON_THE_EDGES = (
    example({0.5: 1}, true_pixels=1, presence=0.75),  # one pixel at the top threshold
    example({0.5: 1}, true_pixels=0, presence=0.75),
    example(
        {0.75: 2, 0.25: 3}, true_pixels=4, presence=0.5
    ),  # an area of two pixels and a presence at their thresholds
    example({0.75: 2, 0.5: 2}, true_pixels=0, presence=0.5),
    example({0.5: 3}, true_pixels=2, presence=0.49),
    example({127.5 / 256: 5}, true_pixels=5, presence=1.0),  # a bin below the top threshold
    example({}, true_pixels=1, presence=1.0),  # no pixel reaches any threshold
    example({}, true_pixels=0, presence=1.0),
    example({1.0: SIDE * SIDE}, true_pixels=SIDE * SIDE, presence=0.0),
)
"""Images whose areas, probabilities and presences are exactly those of ``EDGE_RULES``, or one step beside them."""
EDGE_RULES = tuple(
    DecisionRule(top, area, bottom, presence)
    for top in (1, 64, 128, 192)
    for area in (0.0, PIXEL, 2 * PIXEL, 3 * PIXEL, 64 * PIXEL)
    for bottom in (1, 64, 128, 192)
    for presence in (0.0, 0.5, 0.75)
    if bottom <= top
)
