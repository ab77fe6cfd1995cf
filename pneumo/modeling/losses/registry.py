"""The registry of the loss's terms: their weights and options, which are flags."""

from typing import Annotated, Literal, get_type_hints

from annotated_types import Interval

from pneumo.modeling.losses.term import Term, Weight
from pneumo.runtime.config import config_dataclass, flag
from pneumo.runtime.errors import UserError


@config_dataclass(flag_prefix="loss.")
class LossConfig:
    """The registry of terms: a field with a ``Term`` is the weight of that term, the other fields are their options.

    The total is the weighted sum of the terms, not their mean.
    """

    bce: Annotated[Weight, Term("pneumo.modeling.losses.bce.bce_loss", options=("bce_border",))] = 1.0
    """Weight of the pixels' binary cross-entropy (mean over the image)."""
    bce_border: Annotated[int, Interval(ge=0, le=256)] = 0
    """Pixels on either side of a mask's border in which the label of the cross-entropy falls from 1 to 0; 0 = none."""
    dice: Annotated[Weight, Term("pneumo.modeling.losses.dice.dice_loss", options=("dice_on", "dice_over"))] = 1.0
    """Weight of the soft Dice loss."""
    log_dice: Annotated[Weight, Term("pneumo.modeling.losses.log_dice.log_dice_loss")] = 0.0
    """Weight of minus the logarithm of the soft Dice coefficient of a micro-batch."""
    focal: Annotated[Weight, Term("pneumo.modeling.losses.focal.focal_loss", options=("focal_gamma",))] = 0.0
    """Weight of the pixels' focal loss (mean over the image)."""
    # Beyond 16, the power of a small number underflows in float32.
    focal_gamma: Annotated[float, Interval(ge=1, le=16)] = 2.0
    """Exponent of the focal loss, at least 1: the larger, the less pixels that are already right count."""
    presence: Annotated[Weight, Term("pneumo.modeling.losses.presence.presence_loss", output="presence")] = 0.0
    """Weight of the presence head's binary cross-entropy."""
    dice_on: Literal["all", "positive"] = "all"
    """Whether images with an empty mask have a Dice loss, or only positive ones."""
    dice_over: Literal["image", "micro-batch"] = "image"
    """Pixels over which Dice is computed: those of the image, or of all images of its micro-batch."""

    def __post_init__(self) -> None:
        names = [name for name, term in TERMS.items() if term.output == "mask"]
        if not any(getattr(self, name) for name in names):
            flags = [flag(name, "loss.") for name in names]
            raise UserError(
                f"{', '.join(flags[:-1])} and {flags[-1]} are all 0", "a loss on the mask", "give one of them a weight"
            )


TERMS: dict[str, Term] = {
    name: entry
    for name, annotation in get_type_hints(LossConfig, include_extras=True).items()
    for entry in getattr(annotation, "__metadata__", ())
    if isinstance(entry, Term)
}
"""Every term by the name of its weight, in the order of ``LossConfig``."""
