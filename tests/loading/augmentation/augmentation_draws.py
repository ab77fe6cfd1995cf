"""Draws of augmentation parameters for many positions, and an augmentation of one entry alone."""

from dataclasses import fields, replace

import numpy as np

from pneumo.loading.augmentation.parameters import AugmentationParameters, draw
from pneumo.loading.augmentation.registry import Augmentation

NAMES = [entry.name for entry in fields(Augmentation) if entry.name != "rng_scheme"]
ALL_OFF = {name: replace(getattr(Augmentation(), name), probability=0.0) for name in NAMES}


def only(*, registry=Augmentation, **entries) -> Augmentation:
    """Return an augmentation with the named entries; all others are off."""
    return registry(**(ALL_OFF | entries))


def with_probability(augmentation: Augmentation, name: str, probability: float) -> Augmentation:
    """Return the augmentation with another probability of one entry."""
    return replace(augmentation, **{name: replace(getattr(augmentation, name), probability=probability)})


def parameters(augmentation: Augmentation, position: int = 0, **changes) -> AugmentationParameters:
    """Draw one sample's parameters."""
    sample = {"seed": 7, "epoch": 3, "position": position, "rows": 1024, "columns": 1024, "size": 256}
    return draw(augmentation, **(sample | changes))


def spans(values: np.ndarray, low: float, high: float) -> bool:
    """Return whether values stay within the limits and come near both."""
    slack = 0.05 * (high - low)
    return low - 1e-9 <= values.min() < low + slack and high - slack < values.max() <= high + 1e-9


def same(a: AugmentationParameters, b: AugmentationParameters) -> bool:
    """Return whether two samples are treated alike, to the bit."""
    return np.array_equal(a.matrix, b.matrix) and a.pixel_transforms == b.pixel_transforms
