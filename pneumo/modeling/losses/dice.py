"""Soft Dice loss of the image, right on empty masks."""

from typing import Literal

import torch
from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs

SMOOTHING = 2.0**-13
"""Dice's smoothing as a fraction of the image: 128 pixels of 1024x1024, a small lesion (5 % are below 1362)."""


def dice_loss(inputs: LossInputs, *, dice_on: Literal["all", "positive"]) -> Tensor:
    """Return 1 - (2 |p g| + s) / (|p| + |g| + s) per image, (N,), |.| being a sum over the image's pixels.

    On an empty mask this is |p| / (|p| + s): 0 for an empty prediction as in the competition, near 1 once
    much more than s is predicted, with a gradient everywhere. The smoothing s is a fraction of the image
    (``SMOOTHING``): with a constant of 1 the loss of an empty image would jump from 0 to 1 at half a false pixel
    in a million, and would differ between image sizes. A missed lesion of s pixels still costs 0.5, the median
    one 0.985.

    Args:
        inputs: N images.
        dice_on: ``positive`` gives images with an empty mask a loss of 0.
    """
    probability, dims = torch.sigmoid(inputs.logits), (1, 2, 3)
    smoothing = SMOOTHING * inputs.mask[0].numel()
    overlap = (probability * inputs.mask).sum(dims)
    size = probability.sum(dims) + inputs.mask.sum(dims)
    # Written as a difference over the sum, not as 1 - ratio, which would round small losses away.
    loss = (size - 2 * overlap) / (size + smoothing)
    return loss * inputs.positive if dice_on == "positive" else loss
