"""The presence head: one logit an image from the encoder's deepest features and the mask's logits."""

import math

import torch
from torch import Tensor, nn

SHARPNESS = (1.0, 4.0)
"""Of the two pools of the mask's logits: from a large faint region to a few certain pixels."""


class PresenceHead(nn.Module):
    """A linear layer over the mean of the deepest features and two pools of the mask's logits.

    A pool is the log-mean-exp ``log(mean(exp(r x))) / r`` over the pixels (Pinheiro & Collobert, From image-level to
    pixel-level labeling with convolutional networks, 2015), which lies between the mean (r small) and the maximum (r
    large). The head begins as the mean of the pools, so that it follows the pixels from the first step on, and learns
    what the encoder adds. The presence loss does not reach the mask through the pools: pixels are told where a
    pneumothorax is by masks alone, and stay calibrated.

    Args:
        features: Channels of the encoder's deepest features.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.of_features = nn.Linear(features, 1)
        self.of_pools = nn.Linear(len(SHARPNESS), 1, bias=False)
        nn.init.constant_(self.of_pools.weight, 1 / len(SHARPNESS))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the presence logits, (N,).

        Args:
            features: (N, C, h, w) deepest features of the encoder.
            logits: (N, 1, H, W) logits of the mask.
        """
        # In bf16 a logit of 8 is rounded to .03, and images of nearly the same probability change places.
        with torch.autocast(logits.device.type, enabled=False):
            pools = torch.stack([log_mean_exp(logits.detach(), sharpness) for sharpness in SHARPNESS], dim=1)
            presence: Tensor = self.of_features(features.float().mean(dim=(2, 3))) + self.of_pools(pools)
            return presence.squeeze(1)


def log_mean_exp(logits: Tensor, sharpness: float) -> Tensor:
    """Return log(mean(exp(sharpness x))) / sharpness over the pixels of each image, (N,) float32, of (N, 1, H, W)."""
    scaled = logits.flatten(1).float() * sharpness
    return (torch.logsumexp(scaled, dim=1) - math.log(scaled.shape[1])) / sharpness
