"""The warp of a whole batch on its device: one affine sampling of images that are already there.

The convention is that of ``geometry`` and of OpenCV's ``warpAffine``: linear interpolation between pixel centers, black
outside of the source, so that an edge fades to black within a pixel.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pneumo.loading.geometry import Matrix

SUBPIXELS = 4096
"""Steps of a pixel to which the two terms of a coordinate are rounded. In float32 all that follows is then exact for
sources of up to 4096 pixels, so that a sample's pixels depend neither on the batch nor on the device's arithmetic."""


def warp_batch(images: Sequence[Tensor], matrices: Sequence[Matrix], size: int) -> Tensor:
    """Sample a batch of images, without waiting for the device.

    Coordinates are off by at most 1/4096 of a pixel in x and in y: between neighbours that differ by d, a value is off
    by at most d/4096 for each of the two. Whole pixels keep their values to the bit.

    Args:
        images: (rows, columns) uint8 or uint16 each, of any shapes, all on one device.
        matrices: (2, 3) float64 each: network to image pixel centers.
        size: Height and width of the network's input in pixels.

    Returns:
        (N, 1, size, size) float32 in [0, 1] on the images' device.
    """
    canvas, white = _to_canvas(images)
    grid = _grid(np.stack(matrices), size, canvas.shape[-1], canvas.device)
    sampled = F.grid_sample(canvas, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # Weights of which the sum is a little more than 1 may pass white.
    return sampled.div_(white).clamp_(max=1)


def _to_canvas(images: Sequence[Tensor]) -> tuple[Tensor, Tensor | float]:
    """Put the images at the top left of black squares; return them, (N, 1, P, P), and the values of white.

    A side P that is a power of two makes the normalized coordinates of ``grid_sample`` exact.
    """
    side = 1 << (max(max(image.shape) for image in images) - 1).bit_length()
    first = images[0]
    canvas = torch.zeros(len(images), 1, side, side, device=first.device)
    if all(image.shape == first.shape and image.dtype == first.dtype for image in images):
        canvas[:, 0, : first.shape[0], : first.shape[1]] = torch.stack(list(images))
        return canvas, float(_white(first))
    for square, image in zip(canvas, images, strict=True):
        square[0, : image.shape[0], : image.shape[1]] = image
    white = _to_device(torch.tensor([[[[_white(image)]]] for image in images], dtype=torch.float32), first.device)
    return canvas, white


def _grid(matrices: Matrix, size: int, side: int, device: torch.device) -> Tensor:
    """Return the normalized coordinates of every sample, (N, size, size, 2), for squares of ``side`` pixels.

    The terms are computed in float64, by operations that round alike on every device.
    """
    terms = _to_device(torch.from_numpy(matrices), device)
    index = torch.arange(size, device=device, dtype=torch.float64)[None, :, None]
    across = _round(terms[:, None, :, 0] * index)[:, None]
    down = _round(terms[:, None, :, 1] * index + terms[:, None, :, 2])[:, :, None]
    # grid_sample has the corners of the square at -1 and 1.
    scale = 2 / side
    return (across * scale).float() + (down * scale + (1 / side - 1)).float()


def _round(coordinates: Tensor) -> Tensor:
    return coordinates.mul_(SUBPIXELS).round_().div_(SUBPIXELS)


def _white(image: Tensor) -> int:
    return torch.iinfo(image.dtype).max


def _to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy from pinned memory to a GPU, so that the host does not wait for it."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values
