"""What is kept of an image that DALI decoded: whole gray levels, downsampled as far as the network's size allows.

The definition is exact, so that a loader gives the same bits whether an image has just been decoded or was kept: every
pixel is the mean of its block of factor x factor decoded levels, rounded to the nearest level, upwards between two.
Sums of up to 8 x 8 levels are exact in float32 in any order, on every device. Of JPEG files libjpeg's downsampling
decoder, which the OpenCV loader uses, and nvJPEG's inverse transform round otherwise, by a few levels at most.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def to_levels(decoded: Tensor, dtype: torch.dtype, factor: int) -> Tensor:
    """Return the levels of a decoded image on its device, (ceil(rows / factor), ceil(columns / factor)).

    Args:
        decoded: (rows, columns) float32 in [0, 1].
        dtype: Levels of the file: ``torch.uint8`` or ``torch.uint16``.
        factor: 1, 2, 4 or 8. The far edges are repeated to fill their blocks.
    """
    levels = (decoded * torch.iinfo(dtype).max).round_()
    if factor > 1:
        rows, columns = levels.shape
        filled = F.pad(levels[None, None], (0, -columns % factor, 0, -rows % factor), mode="replicate")
        levels = F.avg_pool2d(filled, factor)[0, 0].add_(0.5).floor_()
    return levels.to(dtype)
