"""What an augmentation is: it draws a matrix or a change of pixel values from its own random generator."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from pneumo.loading.geometry import Matrix

if TYPE_CHECKING:
    import torch

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class PixelTransform(ABC):
    """A drawn change of pixel values at the network's size, after the warp."""

    pointwise: ClassVar[bool] = False
    """Whether the change of each value depends on the value alone, and masks stay as they are."""

    @abstractmethod
    def apply_to_arrays(self, image: Image, mask: Mask) -> None:
        """Change an image in [0, 1] and its mask in place, (size, size) each (OpenCV loader)."""

    def apply_to_tensor(self, image: "torch.Tensor") -> None:
        """Change an image in [0, 1] in place, on its device (DALI loader); not for ``opencv_only`` augmentations."""
        raise NotImplementedError(type(self).__name__)

    @classmethod
    def apply_to_tensors(cls, transforms: Sequence[Self], images: "Sequence[torch.Tensor]") -> None:
        """Change each image by its own transform, in place; override it where a few operations change all of them."""
        for transform, image in zip(transforms, images, strict=True):
            transform.apply_to_tensor(image)


class RandomTransform(ABC):
    """An augmentation: a ``config_dataclass`` of a probability and ranges that draws transforms."""

    probability: float
    """Probability that a sample is changed."""
    opencv_only: ClassVar[bool] = False
    """Whether the DALI loader cannot do this."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, size: int) -> Matrix | PixelTransform:
        """Draw the transform of one sample.

        Args:
            generator: The augmentation's own for this sample.
            size: Height and width of the network's input in pixels.

        Returns:
            A change of pixel values, or the (3, 3) matrix from the augmented network image to the plain one.
        """

    def check_libraries(self) -> None:  # noqa: B027 - most augmentations need none
        """Raise UserError when a library that this augmentation needs is missing or is another one."""


def apply_to_batch(samples: Sequence[Sequence[PixelTransform]], images: "torch.Tensor") -> None:
    """Change images in place, on their device: the first transforms of all samples at once, then the second ones.

    Args:
        samples: Of each image, what is applied to it, in order.
        images: (N, 1, size, size) in [0, 1].
    """
    for turn in range(max(map(len, samples))):
        changed: dict[type[PixelTransform], tuple[list[PixelTransform], list[torch.Tensor]]] = {}
        for image, transforms in zip(images, samples, strict=True):
            if turn < len(transforms):
                of_kind = changed.setdefault(type(transforms[turn]), ([], []))
                of_kind[0].append(transforms[turn])
                of_kind[1].append(image)
        for kind, (transforms, tensors) in changed.items():
            kind.apply_to_tensors(transforms, tensors)
