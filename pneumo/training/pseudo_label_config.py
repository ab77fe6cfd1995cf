"""When the prediction of a network is taken for the label of an image that has none."""

from typing import Annotated

from annotated_types import Interval

from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.ranges import Fraction, FractionBelowOne


@config_dataclass(flag_prefix="pseudo-labels.")
class PseudoLabelConfig:
    """How many pseudo-labeled images there are in an epoch, and which predictions are labels.

    The thresholds are fixed numbers: those of the teacher's own decision rule were chosen on all labels, those of a
    fold's validation images among them.
    """

    share: FractionBelowOne = 0.0
    """Share of an epoch's images that are pseudo-labeled, each at most once, beside the labeled ones: 0.2 adds one to
    every four of these; 0 = none. Needs --teacher."""
    positive: Fraction = 0.9
    """Presence probability from which an image is positive; without a presence head, its highest pixel's."""
    negative: Fraction = 0.1
    """Presence probability up to which an image without a pixel of its mask is negative; without a presence head, its
    highest pixel's. Images in between are left out."""
    threshold: Annotated[float, Interval(ge=1 / 256, le=255 / 256)] = 0.5
    """Probability from which a pixel of a positive image belongs to its mask."""
    min_area: Annotated[float, Interval(ge=0, le=1 << 20)] = 800.0
    """Smallest mask of a positive image, in pixels of a 1024x1024 image; images with a smaller one are left out."""

    def __post_init__(self) -> None:
        if self.negative >= self.positive:
            raise UserError(
                f"--pseudo-labels.negative {self.negative:g}",
                f"less than --pseudo-labels.positive {self.positive:g}",
                "lower it",
            )
