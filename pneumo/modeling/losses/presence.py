"""Binary cross-entropy of the presence head."""

import torch.nn.functional as F
from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs


def presence_loss(inputs: LossInputs) -> Tensor:
    """Return the binary cross-entropy of "this image has a pneumothorax" per image, (N,)."""
    assert inputs.presence_logit is not None
    return F.binary_cross_entropy_with_logits(inputs.presence_logit, inputs.positive, reduction="none")
