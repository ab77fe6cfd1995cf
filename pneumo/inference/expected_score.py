"""The decision by expected score: a mask is given exactly when its expected Dice is above that of an empty one.

With P the probability that an image has a pneumothorax and D the Dice to be expected of its best mask if it has one, an
empty mask scores 1 - P in expectation, and that mask P D: it is given when P (1 + D) > 1.

Small models, all of them monotone, estimate both from the histogram of an image's pixels and the presence head:

* P is logistic in the presence head, the highest pixel and the areas over some thresholds.
* For each range of pixel probability there is a share of pixels that belong to the lesion, where there is one. So each
  mask has an expected overlap, and the image an expected lesion; the best mask is that with the highest
  2 E|mask and lesion| / (|mask| + E|lesion|).
* D is logistic in that figure, which is not itself an expected Dice: the images' shares differ.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from pneumo.inference.histograms import BINS, equivalent_area
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.ranges import Fraction

RANGES = (0, 1, 2, 4, *range(8, BINS, 8))
"""First bins of the ranges of pixel probability: of most images nearly all pixels are in the lowest bins. A mask is
every pixel of a range or above."""
AREA_BINS = (4, 16, 48, 80, 128, 176, 208, 240)
"""Bins from which pixels are counted as areas: some of ``RANGES``."""
AREA_UNIT = 100.0
"""Pixels of a 1024x1024 image: areas are told apart by their ratio above it, and by their difference below."""
LIMIT = 1e-4
"""Probabilities are taken to be this far from 0 and 1, since their log-odds are infinite."""

_RANGES = np.array(RANGES)
_AREAS = np.array([RANGES.index(first) for first in AREA_BINS])

Floats = npt.NDArray[np.float64]
Weight = Annotated[float, Interval(ge=0, le=1e6)]
Intercept = Annotated[float, Interval(ge=-1e6, le=1e6)]


@config_dataclass
class ExpectedScore:
    """The estimates, as thresholds.json and metrics.json have them. All weights are of log-odds."""

    presence_intercept: Intercept
    head_weight: Weight
    """Of the presence head's log-odds; 0 without a presence head."""
    max_pixel_weight: Weight
    """Of the log-odds of the highest pixel's bin."""
    area_weights: tuple[Weight, ...]
    """Of log(1 + area / 100) for each of ``AREA_BINS``, areas in pixels of a 1024x1024 image."""
    lesion_shares: tuple[Fraction, ...]
    """Share of the pixels of each of ``RANGES`` that belong to the lesion, where there is one; ascending."""
    dice_intercept: Intercept
    dice_weight: Weight
    """Of the log-odds of the Dice that follows from ``lesion_shares``."""

    def __post_init__(self) -> None:
        for name, values, length in (
            ("area_weights", self.area_weights, len(AREA_BINS)),
            ("lesion_shares", self.lesion_shares, len(RANGES)),
        ):
            if len(values) != length:
                raise UserError(f"{len(values)} {name}", f"{length} of them", "restore the values")


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimates:
    """What is expected of n images."""

    presence: Floats
    """(n,) probability of a pneumothorax."""
    mask_bin: npt.NDArray[np.int64]
    """(n,) bin from which a pixel belongs to the best mask; 1 or more."""
    dice: Floats
    """(n,) expected Dice of this mask if there is a pneumothorax; 0 for a mask without a pixel."""

    @property
    def gives_mask(self) -> npt.NDArray[np.bool_]:
        """(n,): whether the mask scores more in expectation than an empty one."""
        return self.presence * (1 + self.dice) > 1

    @property
    def bins(self) -> npt.NDArray[np.int64]:
        """(n,): bin from which a pixel belongs to the mask that is given; 0 where it is empty."""
        return np.where(self.gives_mask, self.mask_bin, 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Features:
    """What the models see of n images, whatever their parameters."""

    presence_features: Floats
    """(n, 10): what the presence rises with: presence head, highest pixel, and the areas from ``AREA_BINS`` on. Without
    a presence head its log-odds are 0."""
    areas: Floats
    """(n, 35) pixels of the mask that begins with each of ``RANGES``."""

    @classmethod
    def of(
        cls,
        predicted: npt.NDArray[np.int64],
        pixels: npt.NDArray[np.int64],
        presence_probability: npt.NDArray[np.float32],
    ) -> "Features":
        """Derive it from what is known of an image without its truth.

        Args:
            predicted: (n, 256) pixels in bin b or above.
            pixels: (n,) all pixels.
            presence_probability: (n,) of the presence head; NaN without one.
        """
        head = np.nan_to_num(log_odds(presence_probability.astype(np.float64)))
        max_bin = np.count_nonzero(predicted, axis=1) - 1
        areas = [np.log1p(equivalent_area(predicted[:, first], pixels) / AREA_UNIT) for first in AREA_BINS]
        features = np.stack([head, log_odds((max_bin + 0.5) / BINS), *areas], axis=1)
        return cls(presence_features=features, areas=predicted[:, _RANGES].astype(np.float64))

    def select(self, index: npt.NDArray[Any]) -> "Features":
        """Return that of the images at integer indices, or where a boolean array (n,) is true."""
        return Features(presence_features=self.presence_features[index], areas=self.areas[index])


def estimate(model: ExpectedScore, features: Features) -> Estimates:
    """Estimate presence, best mask and its Dice.

    The result for an image does not depend, to the last bit, on the others.
    """
    weights = (model.head_weight, model.max_pixel_weight, *model.area_weights)
    presence = logistic(model.presence_intercept, weights, features.presence_features)
    mask_bin, overlap = best_masks(np.array(model.lesion_shares), features.areas)
    dice = logistic(model.dice_intercept, (model.dice_weight,), log_odds(overlap)[:, None])
    return Estimates(presence=presence, mask_bin=mask_bin, dice=np.where(overlap > 0, dice, 0.0))


def best_masks(lesion_shares: Floats, areas: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the first bin (n,) of the best mask, and its 2 E|mask and lesion| / (|mask| + E|lesion|), (n,).

    Between the ends of a range, the figure rises or falls all the way, so that the best mask begins with a range.

    Args:
        lesion_shares: For each of ``RANGES``.
        areas: As ``Features`` has them.
    """
    lesion = lesion_shares * (areas - np.append(areas[:, 1:], np.zeros((len(areas), 1)), axis=1))
    overlap = np.cumsum(lesion[:, ::-1], axis=1)[:, ::-1]
    size = areas + overlap[:, :1]
    # From bin 1 on: of every pixel of an image no mask is made.
    figure = (2 * overlap / np.maximum(size, 1e-300))[:, 1:]
    best = figure.argmax(axis=1)
    return _RANGES[1:][best], figure[np.arange(len(best)), best]


def log_odds(probability: Floats) -> Floats:
    """Return log(p / (1 - p)) of probabilities in [0, 1], which are taken to be in [``LIMIT``, 1 - ``LIMIT``]."""
    inner = np.clip(probability, LIMIT, 1 - LIMIT)
    return np.log(inner / (1 - inner))


def logistic(intercept: float, weights: tuple[float, ...], features: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)) of the weighted sum x of each row's features, (n, len(weights)), one after the other.

    A product of matrices would round the sum of an image differently in another number of images.
    """
    total = np.full(len(features), intercept)
    for weight, feature in zip(weights, features.T, strict=True):
        total += weight * feature
    probability: Floats = 1 / (1 + np.exp(-total))
    return probability
