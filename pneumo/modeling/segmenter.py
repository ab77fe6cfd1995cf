"""The network as the rest of the project sees it: a gray image in, logits out.

The image has one channel in [0, 1]; the network normalizes it inside. Every encoder keeps the three input
channels of its pretraining: the normalization broadcasts the gray value against the mean and the standard
deviation of each channel, so a pretrained encoder computes exactly what it computes on the RGB copy of the
image, at the zero-padded border too. Summing the first kernels into one channel would be exact only inside
(the padding is another gray in each channel) and saves no measurable time: 0.22 s against 0.22 s for
U-Net MobileNetV2 at 256 px, 0.41 s against 0.42 s for ResNet34, two images on one core.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pneumo.modeling.presence_head import PresenceHead
from pneumo.runtime.errors import UserError

STRIDE = 32
"""Image sizes are multiples of this: the encoders halve the resolution five times."""


class SegmenterOutput(NamedTuple):
    """Outputs of the network for N images."""

    logits: Tensor
    """(N, 1, H, W): logit of "this pixel is pneumothorax"."""
    presence_logit: Tensor | None
    """(N,): logit of "this image has a pneumothorax", or None without a presence head."""


class Segmenter(nn.Module):
    """Normalization, encoder, decoder and heads.

    Args:
        net: A segmentation-models network with three input channels and one class.
        mean: Mean of each input channel in the encoder's pretraining, in [0, 1].
        std: Standard deviation of each input channel in the encoder's pretraining.
        presence_head: A presence head that also sees the mask's logits; without it the network's own is used, if it has
            one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        presence_head: PresenceHead | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.presence_head = presence_head
        # Buffers, so that a checkpoint contains the normalization that its weights were trained with.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> SegmenterOutput:
        """Segment images.

        Args:
            image: (N, 1, H, W) float in [0, 1]; H and W are multiples of 32.

        Raises:
            UserError: When H or W is not a multiple of 32.
        """
        _check_image(image)
        normalized = (image - self.mean) / self.std
        if self.presence_head is not None:
            features = self.net.encoder(normalized)  # type: ignore[operator]
            logits = self.net.segmentation_head(self.net.decoder(features))  # type: ignore[operator]
            return SegmenterOutput(logits, self.presence_head(features[-1], logits))
        output = self.net(normalized)
        if isinstance(output, tuple):
            return SegmenterOutput(output[0], output[1].squeeze(1))
        return SegmenterOutput(output, None)


def _check_image(image: Tensor) -> None:
    assert image.ndim == 4, f"expected (N, 1, H, W), got {tuple(image.shape)}"
    channels, rows, columns = image.shape[1:]
    assert channels == 1, f"expected one gray channel, got {channels}"
    if rows % STRIDE or columns % STRIDE:
        raise UserError(
            f"images of {rows}x{columns} pixels",
            f"a size that is a multiple of {STRIDE}",
            f"choose {max(1, round(rows / STRIDE)) * STRIDE}",
        )
