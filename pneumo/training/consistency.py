"""The mean teacher: on images without a label, the network learns what the moving average of its weights predicts.

Tarvainen and Valpola, Mean teachers are better role models (2017). The teacher sees the mirror image, so that the two
agree only where what they see in an image does not depend on its side. As in the paper the loss is the mean squared
error of probabilities, its weight rises along exp(-5 (1 - t)^2), and the teacher gets no gradient.

Two things differ from the authors' code. There the teacher normalizes by each batch, here by its running statistics, as
in validation and inference. And there the unlabeled images move the network's running statistics, as they are in one
batch with the labeled ones: here they do not, since they may come from another hospital than the images that the
network is to be used and scored on (``batch_norm.StepStatistics.discard_pass``).
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pneumo.inference.config import View
from pneumo.inference.predictor import VIEWS
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.training.consistency_config import ConsistencyConfig

VIEW: View = "hflip"
"""What the teacher sees of an image."""


class Target(NamedTuple):
    """What the teacher predicts for N images, without a gradient."""

    pixels: Tensor
    """(N, 1, H, W) float32: probability of each pixel of the image as the network sees it, 0 to 1."""
    presence: Tensor | None
    """(N,) float32: probability of a pneumothorax, 0 to 1; None without a presence head."""


def ramp_up(epochs_done: float, ramp_up_epochs: float) -> float:
    """Return the factor of the loss, exp(-5 (1 - t)^2) with t from 0 to 1: .0067 at the start, 1 from the end on.

    Laine and Aila, Temporal ensembling for semi-supervised learning (2017), and Tarvainen and Valpola (2017).

    Args:
        epochs_done: Epochs since training began, over all stages, with the part of the one that is being done.
        ramp_up_epochs: Epochs in which the factor rises; 0 = it is 1.
    """
    progress = min(1.0, epochs_done / ramp_up_epochs) if ramp_up_epochs else 1.0
    return math.exp(-5.0 * (1.0 - progress) ** 2)


@torch.no_grad()
def teach(teacher: nn.Module, image: Tensor, autocast: Callable[[], AbstractContextManager[None]]) -> Target:
    """Predict images from their mirror images.

    Args:
        teacher: A network in evaluation mode.
        image: (N, 1, H, W) in [0, 1].
        autocast: Makes the context manager of the precision to compute in.
    """
    apply, invert = VIEWS[VIEW]
    with autocast():
        output: SegmenterOutput = teacher(apply(image))
    return Target(invert(torch.sigmoid(output.logits.float())), _presence(output))


def consistency_loss(output: SegmenterOutput, target: Target, config: ConsistencyConfig) -> Tensor:
    """Return each image's loss before the ramp-up, (N,) float32: the weighted squared differences of probabilities.

    Args:
        output: Of the network that learns, for the N images themselves.
        target: Of the teacher.
        config: The weights.
    """
    with torch.autocast(output.logits.device.type, enabled=False):
        losses = config.weight * (torch.sigmoid(output.logits.float()) - target.pixels).square().mean(dim=(1, 2, 3))
        presence = _presence(output)
        if presence is not None and target.presence is not None:
            losses = losses + config.presence_weight * (presence - target.presence).square()
    return losses


def _presence(output: SegmenterOutput) -> Tensor | None:
    return None if output.presence_logit is None else torch.sigmoid(output.presence_logit.float())
