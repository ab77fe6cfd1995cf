"""Elastic, grid or optical distortion by albumentations, with the 1st place's settings (sneddy, 2019).

A lesion that a distortion moves out of the view is gone, and its image is negative: labels are what is left to see, as
after a translation. Of draws on real masks, 38 of 305 optical distortions did so (a limit of 2 may enlarge the image
several times), of 283 grid and 271 elastic ones none. A very small lesion may be lost in the view, too: one grid draw
at 256 lost a lesion of 3 pixels.
"""

import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from pneumo.loading.augmentation.transforms import Image, Mask, PixelTransform, RandomTransform
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.ranges import Fraction

DistortionKind = Literal["elastic", "grid", "optical"]

REFERENCE_SIZE = 1024
"""Image size for which the 1st place's elastic distortion was set, in pixels."""


@dataclass(frozen=True, kw_only=True)
class DistortionTransform(PixelTransform):
    """A distortion of the image and its mask; the same seed and size give the same one."""

    kind: DistortionKind
    seed: int
    """Seed of albumentations' own draws."""

    def apply_to_arrays(self, image: Image, mask: Mask) -> None:
        """Distort both alike, in place."""
        distorted_image, distorted_mask = self._distort(image, mask)
        if mask.any() and not distorted_mask.any():
            # Sampling the nearest pixel may skip a lesion that is still in the view; interpolation reaches further.
            coverage, _ = self._distort(mask.astype(np.float32), mask)
            distorted_mask[np.unravel_index(coverage.argmax(), mask.shape)] = coverage.any()
        image[:], mask[:] = distorted_image, distorted_mask

    def _distort(self, image: Image, mask: Mask) -> tuple[Image, Mask]:
        # An albumentations transform has its own generator: with one for each sample, threads share nothing.
        transform = _transform(self.kind, len(image))
        transform.set_random_seed(self.seed)
        distorted = transform(image=image, mask=mask)
        return distorted["image"], distorted["mask"]


@config_dataclass(flag_prefix="augmentation.distortion.")
class Distortion(RandomTransform):
    """Elastic, grid or optical distortion (OpenCV loader only)."""

    opencv_only: ClassVar[bool] = True

    probability: Fraction = 0.0
    """Probability of one of the three, with equal chances."""

    def draw(self, generator: np.random.Generator, size: int) -> DistortionTransform:
        """Choose one of the three, and draw the seed of the distortion itself."""
        kinds = get_args(DistortionKind)
        return DistortionTransform(kind=kinds[generator.integers(len(kinds))], seed=int(generator.integers(2**31)))

    def check_libraries(self) -> None:
        """Refuse AlbumentationsX.

        Raises:
            UserError: When the distribution ``albumentationsx`` is installed.
        """
        check_albumentations()


def _transform(kind: DistortionKind, size: int) -> Any:
    import cv2

    library = import_albumentations()
    common = {"p": 1.0, "border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": 0}
    if kind == "elastic":
        # Noise smoothed over sigma pixels shrinks with 1 / sigma, so that alpha / sigma sets the displacement;
        # it shrinks with the image. albumentations accepts a sigma of 1 or more.
        ratio = size / REFERENCE_SIZE
        sigma = max(6 * ratio, 1.0)
        alpha = 20 * ratio * sigma
        return library.ElasticTransform(alpha=alpha, sigma=sigma, noise_distribution="uniform", **common)
    if kind == "grid":
        return library.GridDistortion(num_steps=5, distort_limit=0.3, **common)
    return library.OpticalDistortion(distort_limit=2.0, **common)


@cache
def import_albumentations() -> ModuleType:
    """Import albumentations (about a second) without its search for newer versions on the internet."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations  # type: ignore[no-any-return]


def check_albumentations() -> None:
    """Refuse AlbumentationsX, which has albumentations' import name, other results and another license (AGPL).

    Raises:
        UserError: When the distribution ``albumentationsx`` is installed.
    """
    try:
        version = distribution("albumentationsx").version
    except PackageNotFoundError:
        return
    raise UserError(
        f"albumentationsx {version} is installed",
        "albumentations 2.0.8, whose import name it takes over",
        "pip uninstall albumentationsx, then pip install --force-reinstall albumentations==2.0.8",
    )
