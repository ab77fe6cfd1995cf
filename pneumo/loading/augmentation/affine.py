"""Translation, scaling and rotation about the image's center."""

from typing import Annotated

import numpy as np
from annotated_types import Interval

from pneumo.loading.augmentation.transforms import RandomTransform
from pneumo.loading.geometry import Matrix, homogeneous
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.ranges import Fraction, FractionBelowOne


@config_dataclass(flag_prefix="augmentation.affine.")
class Affine(RandomTransform):
    """Translation, scaling and rotation about the image's center."""

    probability: Fraction = 0.5
    """Probability of a translation, scaling and rotation at once."""
    translate: FractionBelowOne = 0.0625
    """Largest translation in either direction, as a fraction of the image's size."""
    scale: FractionBelowOne = 0.1
    """Largest change of scale: factors 1 - scale to 1 + scale."""
    rotate_deg: Annotated[float, Interval(ge=0, le=180)] = 45.0
    """Largest rotation in either direction, in degrees."""

    def draw(self, generator: np.random.Generator, size: int) -> Matrix:
        """Draw the translation in x and y, the scale and the angle, each uniformly in its range."""
        *translation, scale, angle = generator.uniform(-1, 1, 4)
        factor = 1 / (1 + self.scale * scale)
        radians = np.deg2rad(self.rotate_deg * angle)
        cosine, sine = factor * np.cos(radians), factor * np.sin(radians)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        center = (size - 1) / 2
        offset = center - linear @ (center + np.array(translation) * self.translate * size)
        return homogeneous(np.column_stack([linear, offset]))
