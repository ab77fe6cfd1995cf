"""The loss of each image: a weighted sum of the terms in one registry, right on empty masks.

Each term is one number per image, a function of that image alone. So the loss of a global batch is the sum
over its images divided by its size, however the images are divided among micro-batches and ranks. Batch-wise
Dice has no such sum, and that of segmentation-models-pytorch vanishes when every mask of the batch is empty,
as 78 % of them are.
"""

import operator
from functools import reduce
from typing import Annotated, Literal, NamedTuple, get_type_hints

import torch
from annotated_types import Interval
from torch import Tensor

from pneumo.modeling.losses.bce import bce_loss
from pneumo.modeling.losses.dice import dice_loss
from pneumo.modeling.losses.focal import focal_loss
from pneumo.modeling.losses.presence import presence_loss
from pneumo.modeling.losses.term import LossInputs, Term, Weight
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.runtime.config import config_dataclass, flag
from pneumo.runtime.errors import UserError


@config_dataclass(flag_prefix="loss.")
class LossConfig:
    """The registry of terms: a field with a ``Term`` is the weight of that term, the other fields are their options.

    The total is the weighted sum of the terms, not their mean.
    """

    bce: Annotated[Weight, Term(bce_loss)] = 1.0
    """Weight of the pixels' binary cross-entropy (mean over the image)."""
    dice: Annotated[Weight, Term(dice_loss, options=("dice_on",))] = 1.0
    """Weight of the soft Dice loss of the image."""
    focal: Annotated[Weight, Term(focal_loss, options=("focal_gamma",))] = 0.0
    """Weight of the pixels' focal loss (mean over the image)."""
    # Beyond 16, the power of a small number underflows in float32.
    focal_gamma: Annotated[float, Interval(ge=1, le=16)] = 2.0
    """Exponent of the focal loss, at least 1: the larger, the less pixels that are already right count."""
    presence: Annotated[Weight, Term(presence_loss, output="presence")] = 0.0
    """Weight of the presence head's binary cross-entropy."""
    dice_on: Literal["all", "positive"] = "all"
    """Whether images with an empty mask have a Dice loss, or only positive ones."""

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


class ImageLosses(NamedTuple):
    """Losses of N images, each (N,) float32."""

    total: Tensor
    """The weighted sum of the terms."""
    terms: dict[str, Tensor]
    """The terms by name, unweighted; 0 for a term on the mask whose weight is 0."""

    def sums(self) -> Tensor:
        """Return the sums over the images in the order of ``SUMS``, without a gradient."""
        return torch.stack([losses.detach().sum() for losses in (self.total, *self.terms.values())])


SUMS = ("total", *TERMS)
"""Names of the sums that ``ImageLosses.sums`` returns."""


def loss(output: SegmenterOutput, mask: Tensor, config: LossConfig) -> ImageLosses:
    """Return each image's loss, computed in float32 whatever precision the network ran in.

    Args:
        output: The network's output for N images.
        mask: (N, 1, H, W), 0 or 1.
        config: The weights.

    Raises:
        UserError: When a term on the presence head has a weight and the network has no presence head.
    """
    assert output.logits.shape == mask.shape, f"logits {tuple(output.logits.shape)}, mask {tuple(mask.shape)}"
    presence_logit = None if output.presence_logit is None else output.presence_logit.float()
    inputs = LossInputs(logits=output.logits.float(), mask=mask.float(), presence_logit=presence_logit)
    with torch.autocast(mask.device.type, enabled=False):
        terms = {name: _compute(name, term, inputs, config) for name, term in TERMS.items()}
        total = reduce(operator.add, (getattr(config, name) * losses for name, losses in terms.items()))
    return ImageLosses(total, terms)


def _compute(name: str, term: Term, inputs: LossInputs, config: LossConfig) -> Tensor:
    """Return a term's losses (N,), or zeros when it is not needed.

    With a presence head its terms are in the graph even when their weight is 0: otherwise the head's parameters would
    get no gradient, and DistributedDataParallel would wait for it.
    """
    weight = getattr(config, name)
    if term.output == "presence" and inputs.presence_logit is None:
        if weight:
            raise UserError(
                f"{flag(name, 'loss.')} {weight} without a presence head",
                "a network with one",
                "set --model.presence-head",
            )
    elif weight or term.output == "presence":
        return term.function(inputs, **{option: getattr(config, option) for option in term.options})
    return torch.zeros_like(inputs.positive)
