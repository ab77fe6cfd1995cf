"""Focal loss of the pixels."""

import torch
from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs


def focal_loss(inputs: LossInputs, *, focal_gamma: float) -> Tensor:
    """Return the mean of the pixels' focal loss per image, (N,) (Lin et al. 2017, without class weights).

    Args:
        inputs: N images.
        focal_gamma: The exponent of 1 - p, p being the probability of the pixel's label.
    """
    cross_entropy = inputs.cross_entropy
    return (-torch.expm1(-cross_entropy)).pow(focal_gamma).mul(cross_entropy).mean(dim=(1, 2, 3))
