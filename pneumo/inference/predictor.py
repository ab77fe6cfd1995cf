"""Probabilities of a batch of images: the mean over one network's views, and its resizing to the source image."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from pneumo.inference.config import View
from pneumo.loading.geometry import letterbox
from pneumo.runtime.errors import UserError

_Transform = Callable[[torch.Tensor], torch.Tensor]


def _flip_horizontally(maps: torch.Tensor) -> torch.Tensor:
    return maps.flip(-1)


VIEWS: Mapping[View, tuple[_Transform, _Transform]] = {"hflip": (_flip_horizontally, _flip_horizontally)}
"""What makes each view of images (..., H, W), and what transforms its maps back. Every ``View`` has an entry."""


class Probabilities(NamedTuple):
    """The mean over the views of N images, on the device."""

    pixels: torch.Tensor
    """(N, H, W) float32 in [0, 1]."""
    presence: torch.Tensor
    """(N,) float32 in [0, 1]; NaN without a presence head."""
    finite: torch.Tensor
    """() bool: whether all of these are numbers, but for the NaN without a presence head. To be given to
    ``require_finite`` before anything is believed."""


def require_finite(finite: torch.Tensor) -> None:
    """Refuse predictions with a NaN, which reaches no threshold: such an image would be called empty.

    Args:
        finite: ``Probabilities.finite``, on the host: asking a GPU for it waits until it has predicted.

    Raises:
        UserError: When a probability is not finite.
    """
    if not bool(finite):
        raise UserError(
            "the network predicts probabilities that are not finite",
            "numbers in [0, 1]",
            "use --precision fp32; if they stay, the weights are of no use: train the fold again",
        )


class Predictor:
    """A network with the views that are averaged.

    Args:
        network: A ``Segmenter`` in evaluation mode, on the device of the images.
        size: Height and width of its input in pixels.
        tta: Views beside the image itself.
        autocast: Makes the context manager of the precision to compute in.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        size: int,
        tta: Sequence[View],
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.network, self.size, self.tta, self.autocast = network, size, tuple(tta), autocast

    @torch.inference_mode()
    def __call__(self, image: torch.Tensor) -> Probabilities:
        """Return the mean over the views, without waiting for the device.

        Args:
            image: (N, 1, H, W) in [0, 1] on the device.
        """
        pixels, presence = self._predict_view(image)
        for name in self.tta:
            apply, invert = VIEWS[name]
            view, of_view = self._predict_view(apply(image))
            pixels = pixels + invert(view)
            presence = None if presence is None or of_view is None else presence + of_view
        views = 1 + len(self.tta)
        # Of numbers in [0, 1] and NaN, the sum is finite when none is NaN: a tenth of looking at each.
        total = pixels.sum() if presence is None else pixels.sum() + presence.sum()
        if presence is None:
            presence = pixels.new_full((len(image),), torch.nan)
        return Probabilities(pixels / views, presence / views, torch.isfinite(total))

    def _predict_view(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the probabilities of the pixels, (N, H, W), and of a pneumothorax, (N,); None without a head."""
        with self.autocast():
            output = self.network(image)
        pixels = torch.sigmoid(output.logits.float())[:, 0]
        return pixels, None if output.presence_logit is None else torch.sigmoid(output.presence_logit.float())


@torch.inference_mode()
def to_source(pixels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Resize a map of the network's input to the source image, with linear interpolation.

    Args:
        pixels: (S, S) map of the letterboxed image.
        rows: Height of the source image in pixels.
        columns: Width of the source image in pixels.

    Returns:
        (rows, columns) map.
    """
    box = letterbox(rows, columns, pixels.shape[-1])
    content = pixels[box.top : box.top + box.height, box.left : box.left + box.width][None, None]
    # One more row and column, so that rounding of the output's size never makes it a pixel too small.
    content = F.pad(content, (0, 1, 0, 1), mode="replicate")
    factor = 1 / box.scale
    grown = F.interpolate(
        content, scale_factor=(factor, factor), mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
    return grown[0, 0, :rows, :columns]
