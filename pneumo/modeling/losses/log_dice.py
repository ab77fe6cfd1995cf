"""Minus the logarithm of the soft Dice coefficient of a micro-batch."""

import torch
from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs

SMOOTHING = 1.0
"""Pixels that are added to both sides of the ratio."""


def log_dice_loss(inputs: LossInputs) -> Tensor:
    """Return -log((2 |p g| + 1) / (|p| + |g| + 1)) per image, (N,), |.| being a sum over all pixels of its micro-batch.

    The loss of the public notebooks of the competition that followed "mixed loss" (10 focal - log Dice): Dice is that
    of a whole batch, so that every image of a micro-batch has the same loss, whose mean is that of the micro-batches.
    On empty masks alone it is log(|p| + 1), which is 0 for an empty prediction.
    """
    shape = (-1, inputs.micro_batch_size * inputs.mask[0].numel())
    probability, mask = torch.sigmoid(inputs.logits).reshape(shape), inputs.mask.reshape(shape)
    overlap, size = (probability * mask).sum(1), probability.sum(1) + mask.sum(1)
    # log1p keeps what a ratio near 1 would round away.
    loss = torch.log1p(size / SMOOTHING) - torch.log1p(2 * overlap / SMOOTHING)
    return loss.repeat_interleave(inputs.micro_batch_size)
