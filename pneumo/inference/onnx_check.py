"""The comparison of an exported graph in ONNX Runtime with the networks in torch."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.onnx_export import IMAGE, MeanOfNetworks
from pneumo.inference.prediction import plan_batches
from pneumo.loading.build import build_loader
from pneumo.runtime.errors import UserError

TOLERANCE = 1e-4
"""Largest difference of a probability between ONNX Runtime and torch."""
IMAGES = 4
"""Images that are compared."""


def check(path: Path, model: MeanOfNetworks, images: Tensor) -> float:
    """Return the largest difference of a probability of any pixel or image.

    Args:
        path: The graph.
        model: The networks that it was exported from.
        images: (N, 1, S, S) in [0, 1]; the first is given by itself, and then the others at once.

    Raises:
        UserError: When it is above ``TOLERANCE``.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in (part for part in (images[:1], images[1:]) if len(part)):
        with torch.inference_mode():
            expected = model(batch)
        for found, values in zip(session.run(None, {IMAGE: batch.numpy()}), expected, strict=True):
            # NaN is above no tolerance, infinity is.
            difference = np.nan_to_num(np.abs(found - values.numpy()), nan=np.inf)
            largest = max(largest, float(difference.max()))
    if largest > TOLERANCE:
        raise UserError(
            f"the exported network differs from torch by up to {largest:.2g} in a probability",
            f"at most {TOLERANCE:g}",
            "give --no-onnx for an export without model.onnx, or install other versions of onnxscript and onnxruntime",
        )
    return largest


def dataset_images(reader: ShardReader, size: int) -> Tensor:
    """Return some of a dataset's labeled images as the networks see them, (N, 1, S, S) in [0, 1].

    Raises:
        UserError: When one of them is damaged.
    """
    rows = reader.table.select("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).astype(np.int64)]
    (batch,) = build_loader("opencv", reader, torch.device("cpu"), workers=1)(plan_batches([rows], size))
    return batch.image


def drawn_images(size: int) -> Tensor:
    """Return smooth gray patterns with some noise, (N, 1, S, S) in [0, 1], where there is no dataset."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(IMAGES, 1, 6, 6, generator=generator)
    smooth = F.interpolate(coarse, size=(size, size), mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
