"""Random probability maps with true masks, and their histograms."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from plain_histograms import histogram, quantize
from scipy import ndimage

from pneumo.inference.histograms import PredictionHistograms


@dataclass(frozen=True, eq=False)
class Maps:
    """Probability maps and true masks as they are, to check the histograms by brute force."""

    probability: list[npt.NDArray[np.float32]]
    truth: list[npt.NDArray[np.bool_]]
    presence_probability: npt.NDArray[np.float32]
    histograms: PredictionHistograms


def open_slowly(bins: npt.NDArray[np.uint8], min_component: float) -> npt.NDArray[np.uint8]:
    """Return the highest value at which each pixel is in a component of so many pixels of a 1024x1024 image."""
    opened = np.zeros_like(bins)
    for b in range(1, int(bins.max()) + 1):
        labels, _ = ndimage.label(bins >= b, np.ones((3, 3)))
        large = np.bincount(labels.ravel()) * 1024**2 / bins.size >= min_component
        opened[(labels > 0) & large[labels]] = b
    return opened


def draw_maps(
    n: int = 30, *, seed: int = 0, presence_head: bool = True, folds: int = 3, min_component: float = 0.0
) -> Maps:
    """Draw blobs and noisy predictions: images of several sizes, a third of them positive, two per patient."""
    rng = np.random.default_rng(seed)
    probability, truth = [], []
    for i in range(n):
        rows, columns = [(24, 24), (16, 40), (48, 32)][i % 3]
        mask = np.zeros((rows, columns), np.bool_)
        if i % 3 == 0 or rng.random() < 0.1:
            y, x = rng.integers(0, rows - 6), rng.integers(0, columns - 6)
            mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = True
        seen = np.roll(mask, rng.integers(0, 3), axis=1) * rng.uniform(0.1, 1.2)
        stray = (rng.random(mask.shape) < 0.01) * rng.uniform(0, 0.9)
        probability.append(np.clip(seen + stray + rng.random(mask.shape) * 0.2, 0, 1).astype(np.float32))
        truth.append(mask)
    positive = np.array([mask.any() for mask in truth])
    presence = np.where(positive, 0.65, 0.35) + rng.normal(0, 0.2, n)
    presence = np.clip(presence, 0, 1).astype(np.float32) if presence_head else np.full(n, np.nan, np.float32)
    counts = np.stack([histogram(quantize(p), t) for p, t in zip(probability, truth, strict=True)])
    opened = [open_slowly(quantize(p), min_component) if min_component else quantize(p) for p in probability]
    kept = np.stack([histogram(p, t) for p, t in zip(opened, truth, strict=True)]).astype(np.int32)
    histograms = PredictionHistograms(
        image_id=np.array([f"1.2.{i}" for i in range(n)]),
        fold=(np.arange(n) // 2 % folds).astype(np.int16),
        patient=(np.arange(n) // 2).astype(np.int32),
        positive=positive,
        pixels=np.array([mask.size for mask in truth], np.int64),
        presence_probability=presence,
        inside=counts[:, 1].astype(np.int32),
        outside=counts[:, 0].astype(np.int32),
        min_component=min_component,
        kept_inside=kept[:, 1] if min_component else None,
        kept_outside=kept[:, 0] if min_component else None,
    )
    return Maps(probability, truth, presence, histograms)
