"""From a batch of images to probabilities: the averaged views of one network, and the way back to the image's size."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from pneumo.loading.geometry import letterbox
from pneumo.runtime.errors import UserError

VIEWS = ("hflip",)
"""Views beside the image itself that may be averaged."""


class Predictor:
    """A network with the views it averages.

    Args:
        model: A ``Segmenter`` in evaluation mode on ``device``.
        size: Height and width of its input in pixels.
        tta: Views beside the image itself (test-time augmentation), from ``VIEWS``.
        device: Where it computes.
        autocast: Gives the context of the precision to compute in.
        channels_last: Whether images are given in channels-last order.

    Raises:
        UserError: When a view is unknown.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        size: int,
        tta: Sequence[str],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[None]],
        channels_last: bool = True,
    ) -> None:
        unknown = sorted(set(tta) - set(VIEWS))
        if unknown:
            raise UserError(f"unknown view {unknown[0]!r}", f"views from {', '.join(VIEWS)}", "correct --tta")
        self.model, self.size, self.tta, self.device, self.autocast = model, size, tuple(tta), device, autocast
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    @torch.inference_mode()
    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, npt.NDArray[np.float32]]:
        """Return the mean over the views.

        Args:
            image: (N, 1, H, W) in [0, 1] on the device.

        Returns:
            Pixel probabilities (N, H, W) float32 on the device, and the empty-mask head's probability that there
            is a pneumothorax (N,), NaN without that head.
        """
        pixels, head = self._view(image)
        for _ in self.tta:  # The horizontal flip is the only view there is; see VIEWS.
            flipped_pixels, flipped_head = self._view(image.flip(-1))
            pixels, head = pixels + flipped_pixels.flip(-1), head + flipped_head
        views = 1 + len(self.tta)
        return pixels / views, (head / views).cpu().numpy()

    def _view(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with self.autocast():
            output = self.model(image.contiguous(memory_format=self.memory_format))
        pixels = torch.sigmoid(output.logits.float())[:, 0]
        if output.presence_logit is None:
            return pixels, torch.full((len(image),), torch.nan)
        return pixels, torch.sigmoid(output.presence_logit.float())


@torch.inference_mode()
def to_source(pixels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Bring a network-sized map back to the size of the image, linearly interpolated.

    Args:
        pixels: (S, S) map over the letterboxed image.
        rows: Height of the image in pixels.
        columns: Width of the image in pixels.

    Returns:
        (rows, columns) map.
    """
    box = letterbox(rows, columns, pixels.shape[-1])
    content = pixels[box.top : box.top + box.height, box.left : box.left + box.width][None, None]
    # One more row and column, so that rounding in the output's size never leaves it a pixel short.
    content = F.pad(content, (0, 1, 0, 1), mode="replicate")
    factor = 1 / box.scale
    grown = F.interpolate(
        content, scale_factor=(factor, factor), mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
    return grown[0, 0, :rows, :columns]
