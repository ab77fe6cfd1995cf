"""Contrast, gamma or brightness."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from pneumo.loading.augmentation.transforms import Image, Mask, PixelTransform, RandomTransform
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.ranges import Fraction, FractionBelowOne

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class IntensityTransform(PixelTransform):
    """Values v in [0, 1] become ``clip(contrast * v**gamma + brightness, 0, 1)``; masks stay as they are.

    It is written twice, since the two libraries' powers differ in the last bit for two values in five, and OpenCV's
    takes half the time of torch's on a CPU. An identity leaves the image untouched.
    """

    pointwise: ClassVar[bool] = True

    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0

    def apply_to_arrays(self, image: Image, mask: Mask) -> None:
        """Change the image in place."""
        if self.gamma != 1:
            import cv2

            cv2.pow(image, self.gamma, dst=image)
        # Each step reads and writes the whole image: those that would change nothing are left out.
        if self.contrast != 1:
            np.multiply(image, np.float32(self.contrast), out=image)
        if self.brightness != 0:
            np.add(image, np.float32(self.brightness), out=image)
        if self.contrast > 1 or self.brightness > 0:
            np.minimum(image, np.float32(1), out=image)
        if self.contrast < 0 or self.brightness < 0:
            np.maximum(image, np.float32(0), out=image)

    def apply_to_tensor(self, image: "torch.Tensor") -> None:
        """Change the image in place."""
        self.apply_to_tensors([self], [image])

    @classmethod
    def apply_to_tensors(cls, transforms: Sequence[Self], images: "Sequence[torch.Tensor]") -> None:
        """Change the images in place: five operations at most, however many images there are."""
        import torch

        pairs = list(zip(transforms, images, strict=True))
        powers = [(image, transform.gamma) for transform, image in pairs if transform.gamma != 1]
        if powers:
            torch._foreach_pow_(*map(list, zip(*powers, strict=True)))
        linear = [pair for pair in pairs if pair[0].contrast != 1 or pair[0].brightness != 0]
        if linear:
            changed = [image for _, image in linear]
            torch._foreach_mul_(changed, [transform.contrast for transform, _ in linear])
            torch._foreach_add_(changed, [transform.brightness for transform, _ in linear])
            torch._foreach_clamp_min_(changed, 0.0)
            torch._foreach_clamp_max_(changed, 1.0)


@config_dataclass(flag_prefix="augmentation.intensity.")
class Intensity(RandomTransform):
    """Contrast, gamma or brightness."""

    probability: Fraction = 0.3
    """Probability of one change: contrast, gamma or brightness, with equal chances."""
    contrast: FractionBelowOne = 0.2
    """Largest change of contrast: values times 1 - contrast to 1 + contrast."""
    gamma: FractionBelowOne = 0.2
    """Largest change of gamma: values to the power of 1 - gamma to 1 + gamma."""
    brightness: FractionBelowOne = 0.2
    """Largest change of brightness, added to values in [0, 1]."""

    def draw(self, generator: np.random.Generator, size: int) -> IntensityTransform:
        """Choose one of the three, and draw it uniformly in its range."""
        choice, amount = generator.integers(3), generator.uniform(-1, 1)
        if choice == 0:
            return IntensityTransform(contrast=1 + self.contrast * amount)
        if choice == 1:
            return IntensityTransform(gamma=1 + self.gamma * amount)
        return IntensityTransform(brightness=self.brightness * amount)
