"""Bins, histograms and masks of probabilities in numpy, on the host: what the code counts on the device."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pneumo.inference.decision_rule import DecisionRule

BINS = 256


def quantize(probability: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Return the bin floor(256 p) of each probability; probability 1 is in bin 255."""
    return np.minimum(np.asarray(probability) * np.float32(BINS), BINS - 1).astype(np.uint8)


def histogram(bins: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_ | np.uint8] | None) -> npt.NDArray[np.int64]:
    """Count the pixels of each bin outside (row 0) and inside (row 1) the true mask, (2, 256)."""
    counts = np.zeros((2, BINS), np.int64)
    counts[0] = np.bincount(bins.ravel(), minlength=BINS)
    if truth is not None:
        counts[1] = np.bincount(bins[truth.astype(bool)], minlength=BINS)
        counts[0] -= counts[1]
    return counts


def apply_rule(
    bins: npt.NDArray[np.uint8], rule: DecisionRule, presence_probability: float = float("nan")
) -> npt.NDArray[np.uint8]:
    """Return the 0/1 mask (rows, columns) that a rule makes of quantized probabilities."""
    count = int(np.count_nonzero(bins >= rule.top_bin))
    area = count * 1024.0**2 / bins.size
    absent = float(np.float32(presence_probability)) < rule.presence_threshold
    positive = count > 0 and area >= rule.min_area and not absent
    return (bins >= (rule.bottom_bin if positive else BINS)).astype(np.uint8)
