"""Predictions batch by batch, which stay on the device that makes them until somebody asks for numbers.

Images go through the networks in fixed batches, and whole batches are divided over the ranks, so that a prediction does
not depend on the number of ranks; on a CPU it can be repeated to the last bit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows, SampleTable
from pneumo.distributed import heartbeat
from pneumo.inference.components import open_by_area
from pneumo.inference.deferred import Copy, behind
from pneumo.inference.device_histograms import count, quantize
from pneumo.inference.predictor import Predictor, require_finite, to_source
from pneumo.loading.contract import BatchPlan, Loader
from pneumo.masks.rle import Runs
from pneumo.runtime.machine import available_cores

BATCH_SIZE = 8
"""Images in one forward pass."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PredictedBatch:
    """What one network, or the mean of several, predicts for n images.

    The maps have the size of the networks' inputs: at that of the sources they exist one at a time, when they are asked
    for, so that memory does not grow with the sources.
    """

    rows: tuple[int, ...]
    """(n,) rows of the sample table."""
    shapes: tuple[tuple[int, int], ...]
    """(n,) rows and columns of each source image."""
    maps: tuple[torch.Tensor, ...]
    """Of each run (n, S, S) float32 in [0, 1] on the device; runs may have another S."""
    weights: tuple[float, ...] = (1.0,)
    """Weight of each run; they sum to 1."""
    presence: torch.Tensor
    """(n,) presence probabilities on the device; NaN without a presence head."""
    finite: torch.Tensor
    """() bool on the device, see ``predictor.Probabilities``."""

    def probability(self, i: int) -> torch.Tensor:
        """Return the probabilities of the image at index i, at the size of its source, on the device."""
        mean = None
        for weight, maps in zip(self.weights, self.maps, strict=True):
            part = to_source(maps[i], *self.shapes[i])
            part = part if weight == 1 else weight * part
            mean = part if mean is None else mean + part
        assert mean is not None
        return mean

    def bins(self, i: int) -> torch.Tensor:
        """Return the quantized probabilities of the image at index i, (rows, columns) uint8 on the device."""
        return quantize(self.probability(i))


class Counted(NamedTuple):
    """A batch whose numbers are on the host: no probability in it is NaN."""

    batch: PredictedBatch
    counts: npt.NDArray[np.int32]
    """(n, 2, 256): each image's histograms outside and inside the true mask."""
    presence: list[float]
    """(n,), NaN without a presence head."""
    kept: npt.NDArray[np.int32] | None = None
    """(n, 2, 256): as ``counts``, of the maps opened by area; None where no small components are removed."""


def split_batches(rows: Rows) -> list[Rows]:
    """Split rows into the fixed batches."""
    return [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]


def plan_batches(batches: Sequence[Rows], size: int) -> Iterator[BatchPlan]:
    """Plan batches of images without augmentation, and without masks: the truth is compared as run lengths."""
    for rows in batches:
        yield BatchPlan(rows=rows, positions=rows, epoch=0, size=size, seed=0, augmentation=None, with_masks=False)


def source_shapes(table: SampleTable, rows: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return rows and columns of each source image."""
    return tuple(table.shape(row) for row in rows)


def predict(
    predictor: Predictor, loader: Loader, reader: ShardReader, batches: Sequence[Rows]
) -> Iterator[PredictedBatch]:
    """Yield one network's prediction for each batch, in order."""
    for batch in loader(plan_batches(batches, predictor.size)):
        heartbeat.touch()
        found, rows = predictor(batch.image), tuple(batch.rows.tolist())
        yield PredictedBatch(
            rows=rows,
            shapes=source_shapes(reader.table, rows),
            maps=(found.pixels,),
            presence=found.presence,
            finite=found.finite,
        )


def count_pixels(
    batches: Iterable[PredictedBatch],
    device: torch.device,
    truth: Callable[[int], Runs | None] = lambda _: None,
    min_component: float = 0.0,
) -> Iterator[Counted]:
    """Yield each batch with its histograms, which are counted on the device; those of opened maps on the host.

    Args:
        batches: The predictions.
        device: Where they are.
        truth: Returns the runs of a row's true mask, or None.
        min_component: Size of the components that the opened maps keep, in pixels of a 1024x1024 image; 0 = none are
            made.

    Raises:
        UserError: When a probability is not finite.
    """
    queued = ((batch, _start_count(batch, truth, with_bins=min_component > 0)) for batch in batches)
    for batch, copy in behind(queued, device):
        counts, presence, finite, *bins = copy.wait()
        require_finite(finite)
        kept = _count_opened(bins, [truth(row) for row in batch.rows], min_component) if bins else None
        yield Counted(batch, counts.numpy(), presence.tolist(), kept)


# Not around the generator: loaders run inside it, and training cannot use what they keep in inference mode.
@torch.inference_mode()
def _start_count(batch: PredictedBatch, truth: Callable[[int], Runs | None], *, with_bins: bool) -> Copy:
    if with_bins:
        bins = [batch.bins(i) for i in range(len(batch.rows))]
        counts = [count(each, truth(row)) for each, row in zip(bins, batch.rows, strict=True)]
        return Copy(torch.stack(counts), batch.presence, batch.finite, *bins)
    # One map at a time is in memory.
    counts = [count(batch.bins(i), truth(row)) for i, row in enumerate(batch.rows)]
    return Copy(torch.stack(counts), batch.presence, batch.finite)


def _count_opened(
    bins: Sequence[torch.Tensor], truths: Sequence[Runs | None], min_component: float
) -> npt.NDArray[np.int32]:
    """Return the histograms (n, 2, 256) of the opened maps of n images, which are opened side by side."""

    def count_one(values: torch.Tensor, truth: Runs | None) -> torch.Tensor:
        return count(torch.from_numpy(open_by_area(values.numpy(), min_component)), truth)

    found = []
    with ThreadPoolExecutor(min(len(bins), available_cores())) as pool:
        for counted in pool.map(count_one, bins, truths):
            # A large map without a clear component takes long.
            heartbeat.touch()
            found.append(counted)
    counts: npt.NDArray[np.int32] = torch.stack(found).numpy()
    return counts
