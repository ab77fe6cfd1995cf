"""Images whose presence and overlap follow known probabilities, so that the best decision is a closed form."""

import numpy as np

from pneumo.inference.expected_score import AREA_BINS, RANGES, ExpectedScore
from pneumo.inference.histograms import BINS, PredictionHistograms

SIDE = 1024
HIT, BLURRED = 200, 104
"""Bins of the pixels that are probably the lesion's, and of those that may be."""


def draw_known(n: int, *, seed: int = 0, folds: int = 5, patients: int | None = None) -> PredictionHistograms:
    """Draw images whose presence probability is that of the head, spread evenly over [0, 1].

    Each has 6,000 pixels in bin 200 and 4,000 in bin 104. Of a lesion, 4,500 are among the first, 1,000 among the
    second, and 500 elsewhere. So the mask from bin 200 on has a Dice of 2 * 4500 / (6000 + 6000) = .75, that of both
    kinds 2 * 5500 / (10000 + 6000) = .6875, and a mask is right where P > 1 / 1.75 = 4/7.
    """
    rng = np.random.default_rng(seed)
    probability = rng.random(n).astype(np.float32)
    positive = rng.random(n) < probability
    inside, outside = np.zeros((2, n, BINS), np.int32)
    for first, pixels, of_lesion in ((HIT, 6000, 4500), (BLURRED, 4000, 1000), (0, SIDE * SIDE - 10_000, 500)):
        inside[:, first] = of_lesion * positive
        outside[:, first] = pixels - inside[:, first]
    patient = np.arange(n) % (patients or n)
    return PredictionHistograms(
        image_id=np.array([f"1.2.{i}" for i in range(n)]),
        fold=(patient % folds).astype(np.int16),
        patient=patient.astype(np.int32),
        positive=positive,
        pixels=np.full(n, SIDE * SIDE, np.int64),
        presence_probability=probability,
        inside=inside,
        outside=outside,
    )


def make_model(*, head: float = 1.0, shares: dict[int, float] | None = None) -> ExpectedScore:
    """Make models whose P is the head's probability, and whose Dice is that of the shares of pixels, by first bins."""
    of_range = [max((share for first, share in (shares or {}).items() if first <= low), default=0.0) for low in RANGES]
    return ExpectedScore(
        presence_intercept=0.0,
        head_weight=head,
        max_pixel_weight=0.0,
        area_weights=(0.0,) * len(AREA_BINS),
        lesion_shares=tuple(of_range),
        dice_intercept=0.0,
        dice_weight=1.0,
    )
