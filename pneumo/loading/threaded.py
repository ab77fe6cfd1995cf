"""What both loaders have in common: threads that prepare each batch's samples, a few batches ahead."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.loading.augmentation.parameters import AugmentationParameters
from pneumo.loading.contract import Batch, BatchPlan
from pneumo.loading.masks import draw_mask
from pneumo.loading.prefetch import prefetch, threads


class InFlight:
    """A batch whose samples are being prepared.

    Args:
        plan: The batch's plan.
        device: Where the batch will go; a copy from pinned memory to a GPU does not block.
    """

    def __init__(self, plan: BatchPlan, device: torch.device) -> None:
        self.plan = plan
        self.pin_memory = device.type == "cuda"
        self.shape = (len(plan.rows), 1, plan.size, plan.size)
        self.mask = torch.zeros(self.shape, dtype=torch.uint8, pin_memory=self.pin_memory)
        self.samples: list[Future[AugmentationParameters]] = []

    def parameters(self) -> list[AugmentationParameters]:
        """Wait for the samples, and return what is done to each.

        Raises:
            UserError: When a sample is damaged.
        """
        return [sample.result() for sample in self.samples]

    def to_batch(self, image: torch.Tensor) -> Batch:
        """Return the batch with images (N, 1, H, W) that are on their device."""
        # As bytes, a quarter of float32, the masks cross the bus.
        mask = self.mask.to(image.device, non_blocking=True).float()
        return Batch(image=image, mask=mask, rows=self.plan.rows)


InFlightT = TypeVar("InFlightT", bound=InFlight)


class ThreadedLoader(ABC, Generic[InFlightT]):
    """Fulfils ``contract.Loader``; a subclass makes the images.

    Args:
        reader: Reads the samples' files.
        table: The sample table that plans refer to.
        device: Where batches go.
        workers: Threads.
    """

    def __init__(self, reader: ShardReader, table: SampleTable, device: torch.device, workers: int) -> None:
        self.reader, self.table, self.device, self.workers = reader, table, device, workers

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """Yield the batch of each plan, in order.

        Raises:
            UserError: Naming the image and its shard when a sample is damaged.
        """
        with threads(self.workers) as pool:
            submitted = (self._submit(pool, plan) for plan in plans)
            yield from self.finish(prefetch(submitted, lambda batch: len(batch.samples), 2 * self.workers))

    def _submit(self, pool: ThreadPoolExecutor, plan: BatchPlan) -> InFlightT:
        batch = self.allocate(plan)
        batch.samples = [pool.submit(self.prepare_sample, batch, index) for index in range(len(plan.rows))]
        return batch

    @abstractmethod
    def allocate(self, plan: BatchPlan) -> InFlightT:
        """Allocate the memory that the samples of a batch are written to."""

    @abstractmethod
    def prepare_sample(self, batch: InFlightT, index: int) -> AugmentationParameters:
        """Draw a sample's parameters and its mask, and possibly its image; this runs in a thread."""

    @abstractmethod
    def finish(self, batches: Iterator[InFlightT]) -> Iterator[Batch]:
        """Yield the finished batches, in order."""

    def draw_mask(self, batch: InFlightT, index: int, parameters: AugmentationParameters) -> npt.NDArray[np.uint8]:
        """Draw a sample's mask into its batch, and return it, (size, size)."""
        mask = batch.mask[index, 0].numpy()
        draw_mask(self.reader, int(batch.plan.rows[index]), parameters.matrix, mask)
        return mask

    def source_shape(self, row: int) -> tuple[int, int]:
        """Return (rows, columns) of a row's image."""
        return int(self.table.rows[row]), int(self.table.columns[row])
