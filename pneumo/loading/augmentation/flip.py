"""Left-right flip."""

from pneumo.loading.augmentation.transforms import RandomNumbers, RandomTransform, Similarity
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.ranges import Fraction


@config_dataclass(flag_prefix="augmentation.flip.")
class Flip(RandomTransform):
    """Left-right flip."""

    probability: Fraction = 0.5
    """Probability of a flip."""

    def draw(self, numbers: RandomNumbers, size: int) -> Similarity:
        """Return the flip; whole pixels exchange their places."""
        return Similarity(mirror=True)
