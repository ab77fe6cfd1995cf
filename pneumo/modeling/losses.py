"""Losses per image, right on empty masks.

Each term is one number per image, a function of that image alone. So the loss of a global batch is the sum
over its images divided by its size, however the images are spread over micro-batches and ranks. Batch-wise
Dice has no such sum, and that of segmentation-models-pytorch vanishes when every mask of the batch is empty,
as 78 % of them are.
"""

from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from pneumo.modeling.models import SegmenterOutput
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError

SMOOTHING = 2.0**-13
"""Dice's smoothing as a share of the image: 128 pixels of 1024x1024, a small lesion (5 % are below 1362)."""

Weight = Annotated[float, Interval(ge=0, le=1e38)]
"""Weight of a term; float32 ends at three times the greatest. A sum that leaves float32 is seen in training."""


@config_dataclass(flag_prefix="loss.")
class LossConfig:
    """Weights of the terms; the total is their weighted sum, not their mean."""

    bce: Weight = 1.0
    """Weight of the pixels' binary cross-entropy (mean over the image)."""
    dice: Weight = 1.0
    """Weight of the soft Dice loss of the image."""
    focal: Weight = 0.0
    """Weight of the pixels' focal loss (mean over the image)."""
    # Beyond 16, the power of a small number leaves float32.
    focal_gamma: Annotated[float, Interval(ge=1, le=16)] = 2.0
    """Exponent of the focal loss, at least 1: how much pixels that are already right count less."""
    presence: Weight = 0.0
    """Weight of the presence head's binary cross-entropy."""
    dice_on: Literal["all", "positive"] = "all"
    """Whether images with an empty mask have a Dice loss, or only positive ones."""

    def __post_init__(self) -> None:
        if self.bce + self.dice + self.focal <= 0:
            raise UserError(
                "--loss.bce, --loss.dice and --loss.focal are all 0", "a loss on the mask", "give one of them a weight"
            )


class LossParts(NamedTuple):
    """Losses of N images, each (N,) float32; the terms are unweighted, and 0 where their weight is 0."""

    total: Tensor
    bce: Tensor
    dice: Tensor
    focal: Tensor
    presence: Tensor


def loss(output: SegmenterOutput, mask: Tensor, config: LossConfig) -> LossParts:
    """Return each image's loss, computed in float32 whatever precision the network ran in.

    Args:
        output: The network's output for N images.
        mask: (N, 1, H, W), 0 or 1.
        config: The weights.

    Raises:
        UserError: When the head's loss has a weight and the network has no such head.
    """
    logits, mask = output.logits.float(), mask.float()
    assert logits.shape == mask.shape, f"logits {tuple(logits.shape)}, mask {tuple(mask.shape)}"
    with torch.autocast(logits.device.type, enabled=False):
        positive = mask.flatten(1).amax(dim=1)
        zero = torch.zeros_like(positive)
        pixels = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        bce = pixels.mean(dim=(1, 2, 3)) if config.bce else zero
        focal = focal_loss(pixels, config.focal_gamma) if config.focal else zero
        dice = dice_loss(logits, mask) if config.dice else zero
        if config.dice_on == "positive":
            dice = dice * positive
        empty = _presence_loss(output.presence_logit, positive, config.presence)
        total = config.bce * bce + config.dice * dice + config.focal * focal + config.presence * empty
    return LossParts(total, bce, dice, focal, empty)


def focal_loss(cross_entropy: Tensor, gamma: float) -> Tensor:
    """Return the focal loss (Lin et al. 2017, without class weights) per image, (N,).

    Args:
        cross_entropy: (N, 1, H, W), each pixel's binary cross-entropy -log p, p being the truth's probability.
        gamma: The exponent of 1 - p.
    """
    return (-torch.expm1(-cross_entropy)).pow(gamma).mul(cross_entropy).mean(dim=(1, 2, 3))


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - (2 |p g| + s) / (|p| + |g| + s) per image, (N,), |.| being a sum over the image's pixels.

    On an empty mask this is |p| / (|p| + s): 0 for an empty prediction as in the competition, near 1 once
    much more than s is predicted, with a gradient everywhere. The smoothing s is a share of the image
    (``SMOOTHING``): a constant of 1 would make the loss of an empty image a switch that half a stray pixel
    of a million throws, and would mean another loss at each image size. A missed lesion of s pixels still
    costs 0.5, the median one 0.985.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W), 0 or 1.
    """
    probability, dims = torch.sigmoid(logits), (1, 2, 3)
    smoothing = SMOOTHING * mask[0].numel()
    overlap = (probability * mask).sum(dims)
    size = probability.sum(dims) + mask.sum(dims)
    # Written as a difference over the sum, not as 1 - ratio, which would round small losses away.
    return (size - 2 * overlap) / (size + smoothing)


def _presence_loss(presence_logit: Tensor | None, positive: Tensor, weight: float) -> Tensor:
    """Return the head's binary cross-entropy (N,); with a head it is in the graph even when its weight is 0.

    Otherwise the head's parameters would get no gradient, and DistributedDataParallel would wait for it.
    """
    if presence_logit is not None:
        return F.binary_cross_entropy_with_logits(presence_logit.float(), positive, reduction="none")
    if weight:
        raise UserError(f"presence {weight} without an presence_head", "a network with the head", "set presence_head")
    return torch.zeros_like(positive)
