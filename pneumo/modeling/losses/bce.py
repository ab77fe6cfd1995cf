"""Binary cross-entropy of the pixels."""

from torch import Tensor

from pneumo.modeling.losses.inputs import LossInputs


def bce_loss(inputs: LossInputs) -> Tensor:
    """Return the mean of the pixels' binary cross-entropy per image, (N,)."""
    return inputs.cross_entropy.mean(dim=(1, 2, 3))
