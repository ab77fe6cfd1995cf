"""Left-right flip."""

import numpy as np

from pneumo.loading.augmentation.transforms import RandomTransform
from pneumo.loading.geometry import Matrix
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.ranges import Fraction


@config_dataclass(flag_prefix="augmentation.flip.")
class Flip(RandomTransform):
    """Left-right flip."""

    probability: Fraction = 0.5
    """Probability of a flip."""

    def draw(self, generator: np.random.Generator, size: int) -> Matrix:
        """Return the flip; whole pixels exchange their places."""
        return np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
