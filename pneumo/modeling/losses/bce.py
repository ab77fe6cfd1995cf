"""Binary cross-entropy of the pixels."""

import torch.nn.functional as F
from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs


def bce_loss(inputs: LossInputs, *, bce_border: int) -> Tensor:
    """Return the mean of the pixels' binary cross-entropy per image, (N,).

    Args:
        inputs: N images.
        bce_border: Pixels on either side of a mask's border in which the label is neither 0 nor 1: it is the fraction
            of the mask in the square of 2 ``bce_border`` + 1 pixels around the pixel. Readers draw borders some pixels
            apart, and a label of which nobody is certain should not be learned as certain.
    """
    if not bce_border:
        return inputs.cross_entropy.mean(dim=(1, 2, 3))
    # Beyond the image nothing is known: the fraction is of the pixels within.
    label = F.avg_pool2d(inputs.mask, 2 * bce_border + 1, stride=1, padding=bce_border, count_include_pad=False)
    return F.binary_cross_entropy_with_logits(inputs.logits, label, reduction="none").mean(dim=(1, 2, 3))
