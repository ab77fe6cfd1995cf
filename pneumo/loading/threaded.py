"""What both loaders have in common: threads that prepare each batch's samples, a few batches ahead."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, ClassVar

import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dicom.image_codec import Pixels
from pneumo.loading.augmentation.parameters import AugmentationParameters
from pneumo.loading.augmentation.transforms import Image, Mask
from pneumo.loading.contract import Batch, BatchPlan
from pneumo.loading.decoded_cache import DecodedCache
from pneumo.loading.images import read_reduced
from pneumo.loading.prefetch import prefetch, threads


class InFlight:
    """A batch whose samples are being prepared.

    Args:
        plan: The batch's plan.
        device: Where the batch will go; a copy from pinned memory to a GPU does not block.
        with_image: Whether the threads make the images, too.
    """

    def __init__(self, plan: BatchPlan, device: torch.device, *, with_image: bool) -> None:
        shape, pin_memory = (len(plan.rows), 1, plan.input_size, plan.input_size), device.type == "cuda"
        self.plan = plan
        self.image = torch.empty(shape if with_image else 0, dtype=torch.float32, pin_memory=pin_memory)
        # The network reads float32; a bus is crossed by bytes, a quarter of that.
        self._mask = torch.zeros(
            shape if plan.with_masks else 0, dtype=torch.uint8 if pin_memory else torch.float32, pin_memory=pin_memory
        )
        # Once for all samples: indexing a tensor takes several times as long as indexing an array.
        self._images, self._masks = self.image.numpy(), self._mask.numpy()
        self.drawn: Future[list[AugmentationParameters]] = Future()
        self.samples: list[Future[None]] = []
        # What a loader whose threads do not make the images makes them of.
        self.sources: list[Any] = [None] * len(plan.rows)

    def mask_of(self, index: int) -> Mask | None:
        """Return the mask of a sample, (size, size) zeros to be painted; None when the plan is without masks."""
        return self._masks[index, 0] if self.plan.with_masks else None

    def image_of(self, index: int) -> Image:
        """Return the image of a sample, (size, size) to be filled, if the threads make the images."""
        return self._images[index, 0]  # type: ignore[no-any-return]

    def parameters(self) -> list[AugmentationParameters]:
        """Wait for the samples, and return the parameters of each.

        Raises:
            UserError: When a sample is damaged.
        """
        # Woken once, not by each sample: every change of threads takes time from the one that prepares samples.
        wait(self.samples, return_when=FIRST_EXCEPTION)
        for sample in self.samples:
            sample.result()
        return self.drawn.result()

    def to_batch(self, image: torch.Tensor) -> Batch:
        """Return the batch with images (N, 1, H, W) that are on their device."""
        mask = self._mask.to(image.device, non_blocking=True).float()
        return Batch(image=image, mask=mask, rows=self.plan.rows)


class ThreadedLoader(ABC):
    """Fulfils ``contract.Loader``; a subclass makes the images.

    Args:
        reader: Reads the samples' files; plans refer to its table.
        device: Where batches go.
        workers: Threads.
    """

    images_in_threads: ClassVar[bool]
    """Whether ``prepare_sample`` makes the image, too."""
    caches_on_host: ClassVar[bool] = False
    """Whether a ``cache`` in the machine's memory is of use."""

    def __init__(self, reader: ShardReader, device: torch.device, workers: int) -> None:
        self.reader, self.device, self.workers = reader, device, workers
        self.cache: DecodedCache | None = None

    def read_reduced(self, row: int, factor: int) -> Pixels:
        """Return ``images.read_reduced`` of a row, from the cache if there is one."""
        if self.cache is None:
            return read_reduced(self.reader, row, factor)
        return self.cache.image(self.reader, row, factor)

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """Yield the batch of each plan, in order.

        Raises:
            UserError: Naming the image and its shard when a sample is damaged.
        """
        with threads(self.workers) as pool:
            submitted = (self._submit(pool, plan) for plan in plans)
            yield from self.finish(prefetch(submitted, lambda batch: len(batch.samples), 2 * self.workers))

    def _submit(self, pool: ThreadPoolExecutor, plan: BatchPlan) -> InFlight:
        batch = InFlight(plan, self.device, with_image=self.images_in_threads)
        samples = range(len(plan.rows))
        # All at once: between two images the processor has forgotten this code, and takes three times as long for it.
        batch.drawn = pool.submit(lambda: [plan.parameters(index, self.reader.table) for index in samples])
        batch.samples = [pool.submit(self._prepare, batch, index) for index in samples]
        return batch

    def _prepare(self, batch: InFlight, index: int) -> None:
        # Drawing was begun before, and waits for nothing.
        self.prepare_sample(batch, index, batch.drawn.result()[index])

    @abstractmethod
    def prepare_sample(self, batch: InFlight, index: int, parameters: AugmentationParameters) -> None:
        """Rasterize a sample's mask if the batch has masks, and make or read its image; this runs in a thread."""

    @abstractmethod
    def finish(self, batches: Iterator[InFlight]) -> Iterator[Batch]:
        """Yield the finished batches, in order."""
