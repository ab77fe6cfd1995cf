"""The histograms of ``pneumo.inference.histograms``, counted where the probabilities are: 2 KB an image leave a device.

Nothing here waits for a GPU, so that its work can be queued far ahead.
"""

import numpy as np
import torch

from pneumo.inference.histograms import BINS
from pneumo.masks.rle import Runs

_OUTSIDE = BINS
"""The key of a pixel that is not to be counted."""


def quantize(probability: torch.Tensor) -> torch.Tensor:
    """Return the bin floor(256 p) of each probability as uint8; probability 1 is in bin 255.

    A probability is at least b/256 exactly when its bin is at least b, for b in 1..255.

    Args:
        probability: Floats in [0, 1], of any shape.
    """
    # Multiplying by a power of two is exact, so no probability moves to the other side of a threshold.
    return (probability * BINS).clamp_(max=BINS - 1).to(torch.uint8)


def count(bins: torch.Tensor, truth: Runs | None = None) -> torch.Tensor:
    """Count the pixels of each bin outside (row 0) and inside (row 1) the true mask: (2, 256) int32 on the device.

    Args:
        bins: (rows, columns) uint8, from ``quantize``.
        truth: Runs of the true mask, from ``rle.parse``; None or without runs for an empty one.
    """
    total = _bincount(bins.reshape(-1), BINS)
    if truth is None or not len(truth):
        return torch.stack([total, torch.zeros_like(total)])
    rows = bins.shape[0]
    # Only the columns that the runs touch are painted, in column-major order.
    first, last = int(truth[0, 0]) // rows, (int(truth[-1].sum()) - 1) // rows + 1
    painted = paint(truth - (first * rows, 0), (last - first) * rows, bins.device)
    part = bins[:, first:last].T.reshape(-1).to(torch.int16)
    inside = _bincount(torch.where(painted, part, _OUTSIDE), BINS + 1)[:BINS]
    return torch.stack([total - inside, inside])


def paint(runs: Runs, pixels: int, device: torch.device) -> torch.Tensor:
    """Return which of the first pixels are in a run: (pixels,) bool on the device, to which the runs alone are sent.

    Args:
        runs: (n, 2) starts and lengths; no two overlap, and none ends beyond ``pixels``.
        pixels: How many.
        device: Where to.
    """
    edges = torch.from_numpy(np.concatenate([runs[:, 0], runs.sum(axis=1)]))
    steps = torch.from_numpy(np.repeat(np.array([1, -1], np.int8), len(runs)))
    if device.type == "cuda":
        edges, steps = (tensor.pin_memory().to(device, non_blocking=True) for tensor in (edges, steps))
    # One run may begin where another ends: there the steps add up to 0.
    changes = torch.zeros(pixels + 1, dtype=torch.int8, device=device).index_add_(0, edges, steps)
    return changes.cumsum(0, dtype=torch.int8)[:-1].bool()


def _bincount(keys: torch.Tensor, length: int) -> torch.Tensor:
    """Count each key in 0..length - 1: (length,) int32."""
    if keys.is_cuda:
        # bincount reads the largest key back to the host, which has to wait for it. Between integer limits, histc is
        # the same kernel without that, and exact: bin k is [k, k + 1).
        return torch.histc(keys.to(torch.int32), bins=length, min=0, max=length)
    return torch.bincount(keys, minlength=length).to(torch.int32)
