"""The loss of each image: a weighted sum of the terms in one registry, right on empty masks.

Each term is one number per image, a function of that image alone, or of its micro-batch (``log_dice``), which is the
same on any number of ranks. So the loss of a global batch is the sum over its images divided by its size. Dice of a
whole global batch has no such sum, and that of segmentation-models-pytorch vanishes when every mask of the batch is
empty, as 78 % of them are.
"""

import operator
from collections.abc import Callable
from functools import reduce
from pkgutil import resolve_name
from typing import NamedTuple

import torch
from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs
from pneumo.modeling.losses.registry import TERMS, LossConfig
from pneumo.modeling.losses.term import Term
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.runtime.config import flag
from pneumo.runtime.errors import UserError


class ImageLosses(NamedTuple):
    """Losses of N images, each (N,) float32."""

    total: Tensor
    """The weighted sum of the terms."""
    terms: dict[str, Tensor]
    """The terms by name, unweighted; 0 for a term on the mask whose weight is 0."""

    def sums(self) -> Tensor:
        """Return the sums over the images in the order of ``SUMS``, without a gradient."""
        return torch.stack([losses.detach().sum() for losses in (self.total, *self.terms.values())])


FUNCTIONS: dict[str, Callable[..., Tensor]] = {name: resolve_name(term.function) for name, term in TERMS.items()}
"""The function of each term by the name of its weight."""
SUMS = ("total", *TERMS)
"""Names of the sums that ``ImageLosses.sums`` returns."""


def loss(output: SegmenterOutput, mask: Tensor, config: LossConfig, micro_batch_size: int = 1) -> ImageLosses:
    """Return each image's loss, computed in float32 whatever precision the network ran in.

    Args:
        output: The network's output for N images.
        mask: (N, 1, H, W), 0 or 1.
        config: The weights.
        micro_batch_size: Images of a micro-batch, a divisor of N.

    Raises:
        UserError: When a term on the presence head has a weight and the network has no presence head.
    """
    assert output.logits.shape == mask.shape, f"logits {tuple(output.logits.shape)}, mask {tuple(mask.shape)}"
    presence_logit = None if output.presence_logit is None else output.presence_logit.float()
    inputs = LossInputs(
        logits=output.logits.float(),
        mask=mask.float(),
        presence_logit=presence_logit,
        micro_batch_size=micro_batch_size,
    )
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
        return FUNCTIONS[name](inputs, **{option: getattr(config, option) for option in term.options})
    return torch.zeros_like(inputs.positive)
