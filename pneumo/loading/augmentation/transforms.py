"""What an augmentation is: the numbers it is given, and the geometric and pixel transforms that it returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from pneumo.loading.geometry import Matrix, homogeneous

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, kw_only=True)
class RandomNumbers:
    """One augmentation's random numbers for one sample."""

    chance: float
    """In [0, 1): the augmentation is applied when this is below its probability."""
    uniform: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """(n,) in [-1, 1)."""
    choice: int = 0
    """0, 1 or 2 with equal chances."""
    seed: int = 0
    """Seed for further draws."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """A mirror, shift, scaling and rotation of the network's image about its centre."""

    mirror: bool = False
    """Whether left and right are exchanged."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Translation (x, y) in network pixels."""
    scale: float = 1.0
    """Factor by which the content is enlarged."""
    angle: float = 0.0
    """Rotation in radians."""

    def combine(self, other: "Similarity") -> "Similarity":
        """Return both at once: shifts and angles are added, scales multiplied, two mirrors cancel out."""
        return Similarity(
            mirror=self.mirror != other.mirror,
            shift=(self.shift[0] + other.shift[0], self.shift[1] + other.shift[1]),
            scale=self.scale * other.scale,
            angle=self.angle + other.angle,
        )

    def matrix(self, size: int) -> Matrix:
        """Return the (3, 3) matrix from the augmented network image to the plain one, of (size, size) pixels."""
        centre = (size - 1) / 2
        factor = 1 / self.scale
        cosine, sine = factor * np.cos(self.angle), factor * np.sin(self.angle)
        sign = -1.0 if self.mirror else 1.0
        linear = np.array([[cosine * sign, -sine], [sine * sign, cosine]])
        return homogeneous(np.column_stack([linear, centre - linear @ (centre + np.array(self.shift))]))


class PixelTransform(ABC):
    """A drawn change of pixel values at the network's size, after the warp."""

    @abstractmethod
    def apply_to_arrays(self, image: Image, mask: Mask) -> None:
        """Change an image in [0, 1] and its mask in place, (size, size) each (OpenCV loader)."""

    def apply_to_tensor(self, image: torch.Tensor) -> None:
        """Change an image in [0, 1] in place, on its device (DALI loader); not for ``opencv_only`` augmentations."""
        raise NotImplementedError(type(self).__name__)


class RandomTransform(ABC):
    """An augmentation: a ``config_dataclass`` of a probability and ranges that draws transforms."""

    probability: float
    """Probability that a sample is changed."""
    opencv_only: ClassVar[bool] = False
    """Whether the DALI loader cannot do this."""

    @abstractmethod
    def draw(self, numbers: RandomNumbers, size: int) -> Similarity | PixelTransform:
        """Make the transform of one sample from its random numbers.

        Args:
            numbers: The augmentation's random numbers for this sample.
            size: Height and width of the network's input in pixels.
        """

    def check_libraries(self) -> None:  # noqa: B027 - most augmentations need none
        """Raise UserError when a library that this augmentation needs is missing or is another one."""
