"""What the terms of the loss are computed from."""

from dataclasses import dataclass
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LossInputs:
    """Outputs of the network and labels of N images, in float32."""

    logits: Tensor
    """(N, 1, H, W): logit of "this pixel is pneumothorax"."""
    mask: Tensor
    """(N, 1, H, W): 0 or 1."""
    presence_logit: Tensor | None = None
    """(N,): logit of "this image has a pneumothorax", or None without a presence head."""
    micro_batch_size: int = 1
    """Images of a micro-batch: each so many of the N images in turn are one, on any number of ranks."""

    @cached_property
    def positive(self) -> Tensor:
        """(N,): 1 where the image's mask is not empty, else 0: whether a lesion is in the view, after augmentation."""
        return self.mask.flatten(1).amax(dim=1)

    @cached_property
    def cross_entropy(self) -> Tensor:
        """(N, 1, H, W): binary cross-entropy -log p of each pixel, p being the probability of its label."""
        return F.binary_cross_entropy_with_logits(self.logits, self.mask, reduction="none")
