"""Soft Dice loss of an image or of a micro-batch, right on empty masks."""

from typing import Literal

import torch
from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs

SMOOTHING = 2.0**-13
"""Dice's smoothing as a fraction of the image: 128 pixels of 1024x1024, a small lesion (5 % are below 1362)."""


def dice_loss(
    inputs: LossInputs, *, dice_on: Literal["all", "positive"], dice_over: Literal["image", "micro-batch"]
) -> Tensor:
    """Return 1 - (2 |p g| + s) / (|p| + |g| + s) per image, (N,), |.| being a sum over pixels.

    On empty masks this is |p| / (|p| + s): 0 for an empty prediction as in the competition, near 1 once
    much more than s is predicted, with a gradient everywhere. The smoothing s is a fraction of one image
    (``SMOOTHING``): with a constant of 1 the loss of an empty image would jump from 0 to 1 at half a false pixel
    in a million, and would differ between image sizes. A missed lesion of s pixels still costs 0.5, the median
    one 0.985.

    Args:
        inputs: N images.
        dice_on: ``positive`` gives a loss of 0 to images with an empty mask; over micro-batches, to those in which
            every mask is empty.
        dice_over: The pixels of the sums: the image's, or those of all images of its micro-batch, which then have the
            same loss. In the second one large lesion outweighs several small ones.
    """
    images = inputs.micro_batch_size if dice_over == "micro-batch" else 1
    shape, dims = (-1, images, *inputs.mask.shape[2:]), (1, 2, 3)
    probability, mask = torch.sigmoid(inputs.logits).reshape(shape), inputs.mask.reshape(shape)
    smoothing = SMOOTHING * inputs.mask[0].numel()
    overlap = (probability * mask).sum(dims)
    size = probability.sum(dims) + mask.sum(dims)
    # Written as a difference over the sum, not as 1 - ratio, which would round small losses away.
    loss = (size - 2 * overlap) / (size + smoothing)
    if dice_on == "positive":
        loss = loss * mask.flatten(1).amax(dim=1)
    return loss.repeat_interleave(images)
