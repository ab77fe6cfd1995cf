"""Elastic, grid and optical distortion by albumentations, with the 1st place's settings (sneddy, 2019)."""

import os
from functools import cache
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.loading.augmentation import Distortion

REFERENCE_SIZE = 1024
"""Image size for which the winner's elastic distortion was set, in pixels."""

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


def distort(kind: Distortion, seed: int, image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Return an image and its mask, distorted alike.

    Args:
        kind: Which distortion.
        seed: Seed of its draws; the same seed and size give the same distortion.
        image: (size, size) in [0, 1].
        mask: (size, size), 0 or 1.
    """
    # A transform holds its generator, so each sample has its own and threads share nothing.
    transform = _transform(kind, len(image))
    transform.set_random_seed(seed)
    distorted = transform(image=image, mask=mask)
    return distorted["image"], distorted["mask"]


def _transform(kind: Distortion, size: int) -> Any:
    library = _albumentations()
    common = {"p": 1.0, "border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": 0}
    if kind == "elastic":
        # Noise smoothed over sigma pixels shrinks with 1 / sigma, so that alpha / sigma sets the displacement;
        # it shrinks with the image. albumentations wants a sigma of 1 or more.
        ratio = size / REFERENCE_SIZE
        sigma = max(6 * ratio, 1.0)
        alpha = 20 * ratio * sigma
        return library.ElasticTransform(alpha=alpha, sigma=sigma, noise_distribution="uniform", **common)
    if kind == "grid":
        return library.GridDistortion(num_steps=5, distort_limit=0.3, **common)
    return library.OpticalDistortion(distort_limit=2.0, **common)


@cache
def _albumentations() -> ModuleType:
    """Import albumentations (a second or so) without its look-up of newer versions on the internet."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations  # type: ignore[no-any-return]
