"""Batch normalization that training leaves as it is: statistics and affine parameters stay those of the first weights.

As the 4th place (amirassov, 2019) did with its encoder, after mmdetection's ``frozen`` and ``norm_eval``: a layer is in
evaluation mode while the network trains, and its weight and bias have no gradient. torchvision's ``FrozenBatchNorm2d``
computes the same, but its state has other names, which the networks of inference would not load.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(module: nn.Module) -> None:
    """Freeze the batch-normalization layers of a module; a later ``train`` of it would end that."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.requires_grad_(False).eval()
            layer.frozen = True  # type: ignore[assignment]


def is_frozen(layer: nn.Module) -> bool:
    """Return whether a layer, or the one that it is a copy of, was frozen."""
    return bool(getattr(layer, "frozen", False))
