"""How much a network learns from images without a label: by agreeing with the moving average of its own weights."""

from typing import Annotated

from annotated_types import Interval

from pneumo.modeling.losses.term import Weight
from pneumo.runtime.config import config_dataclass, invalid_value

PREFIX = "consistency."


@config_dataclass(flag_prefix=PREFIX)
class ConsistencyConfig:
    """The mean teacher (``training.consistency``): how many unlabeled images a step has, and what their loss weighs."""

    images: Annotated[int, Interval(ge=0, le=65_536)] = 0
    """Unlabeled images in an optimizer step beside the labeled ones, over all ranks, a multiple of --micro-batch-size:
    the network learns to predict on them what its moving average does. 0 = none. Needs --ema-decay and a dataset of
    job/shard.py --keep-unlabeled."""
    # Where the two differ by 0.3, a pixel then has about the gradient that a label gives it with --loss.bce 3.
    weight: Weight = 10.0
    """Weight of the squared difference of the pixels' probabilities (mean over the image)."""
    presence_weight: Weight = 0.5
    """Weight of the squared difference of the presence probabilities."""
    ramp_up_epochs: Annotated[float, Interval(ge=0, le=100_000)] = 5.0
    """Epochs, over all stages, in which both weights rise from almost nothing to their values; 0 = at once."""

    def __post_init__(self) -> None:
        """Refuse unlabeled images of which nothing is learned.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        if self.images and not (self.weight or self.presence_weight):
            raise invalid_value("weight", f"{self.weight:g}", "more than 0, or --consistency.images 0", PREFIX)
