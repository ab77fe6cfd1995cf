"""Predictions of one network, image by image.

Images go through the network in fixed batches, and whole batches are divided over the ranks, so that a prediction does
not depend on the number of ranks; on a CPU it can be repeated to the last bit.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed import heartbeat
from pneumo.inference.histograms import quantize
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.contract import BatchPlan, Loader

BATCH_SIZE = 8
"""Images in one forward pass."""


class Prediction(NamedTuple):
    """A network's prediction for one image."""

    row: int
    """Row of the sample table."""
    bins: npt.NDArray[np.uint8]
    """(rows, columns) quantized probabilities at the size of the source image."""
    presence_probability: float
    """NaN without a presence head."""


def split_batches(rows: Rows) -> list[Rows]:
    """Split rows into the fixed batches."""
    return [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]


def plan_batches(batches: Sequence[Rows], size: int) -> Iterator[BatchPlan]:
    """Plan batches of images without augmentation."""
    for rows in batches:
        yield BatchPlan(rows=rows, positions=rows, epoch=0, size=size, seed=0, augmentation=None)


def predict(predictor: Predictor, loader: Loader, reader: ShardReader, batches: Sequence[Rows]) -> Iterator[Prediction]:
    """Yield the prediction for each image of the batches, in order."""
    for batch in loader(plan_batches(batches, predictor.size)):
        heartbeat.touch()
        pixels, presence = predictor(batch.image)
        for i, row in enumerate(batch.rows.tolist()):
            source = to_source(pixels[i], *reader.table.shape(row))
            yield Prediction(row, quantize(source.cpu().numpy()), float(presence[i]))
