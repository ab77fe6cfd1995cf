"""The loader for GPUs: DALI decodes (nvJPEG) on the device, where a few operations on the whole batch do the rest.

Threads on the host read the files, draw the parameters and rasterize the masks. What DALI decodes is downsampled to the
levels of ``decoded_levels``, which a cache may keep; the warp and the changes of pixel values begin there, whether an
image has just been decoded or was kept. OpenCV's loader is the faster one on a CPU.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.device_memory import is_out_of_memory
from pneumo.loading.augmentation.parameters import AugmentationParameters
from pneumo.loading.augmentation.transforms import apply_to_batch
from pneumo.loading.batched_warp import warp_batch
from pneumo.loading.contract import Batch
from pneumo.loading.dali_pipeline import Files, build_pipeline, can_decode
from pneumo.loading.decoded_levels import to_levels
from pneumo.loading.device_cache import DeviceCache
from pneumo.loading.geometry import downsample_factor, scale_matrix
from pneumo.loading.images import damaged_sample, read_encoded
from pneumo.loading.masks import rasterize_mask
from pneumo.loading.threaded import InFlight, ThreadedLoader
from pneumo.runtime.errors import UserError, first_line

MAX_THREADS = 8
"""Threads of the loader, and of a pipeline, each of which keeps some ten megabytes of the GPU's memory for decoding. A
few keep a GPU busy, and the others of the machine's cores are left to the training step and to other processes."""

_DTYPES = {"jpg": torch.uint8, "png": torch.uint16}
"""Levels of a file by its format."""


class DaliLoader(ThreadedLoader):
    """Decodes in a DALI pipeline, which has threads of its own.

    Args:
        reader: Reads the samples' files; plans refer to its table.
        device: Where batches go.
        workers: Threads, of which a few are used.
        device_cache: Keeps decoded images on the device, those of one size of the network at a time; None keeps none.
    """

    images_in_threads = False

    def __init__(
        self, reader: ShardReader, device: torch.device, workers: int, device_cache: DeviceCache | None = None
    ) -> None:
        # A tensor knows which device "cuda" means.
        super().__init__(reader, torch.empty(0, device=device).device, min(workers, MAX_THREADS))
        self.device_id = self.device.index if self.device.type == "cuda" else None
        self.device_cache, self._cached_size = device_cache, 0
        self._largest_batch = 1
        self._idle: dict[int, _Run] = {}

    def prepare_sample(self, batch: InFlight, index: int, parameters: AugmentationParameters) -> None:
        """Rasterize a sample's mask, and read its file unless its image is on the device."""
        row = int(batch.plan.rows[index])
        mask = batch.mask_of(index)
        if mask is not None:
            rasterize_mask(self.reader, row, parameters.matrix, mask, self.cache)
        kept = None if self.device_cache is None else self.device_cache.get(row, self._factor(batch, row))
        batch.sources[index] = read_encoded(self.reader, row) if kept is None else kept

    def finish(self, batches: Iterator[InFlight]) -> Iterator[Batch]:
        """Decode what is not on the device; batches in a row that need the same pipeline share it."""
        for samples, group in groupby(batches, self._pipeline_samples):
            if samples:
                yield from self._decode(samples, group)
            else:
                yield from map(self._make, group)

    def _pipeline_samples(self, batch: InFlight) -> int:
        """Return for how many samples the batch's pipeline is built, 0 when nothing is to be decoded.

        A pipeline for the largest batch so far serves smaller ones too.
        """
        batch.parameters()
        self._largest_batch = max(self._largest_batch, len(batch.samples))
        return self._largest_batch if _files(batch) else 0

    def _decode(self, samples: int, batches: Iterator[InFlight]) -> Iterator[Batch]:
        """Run batches through a pipeline, which is kept for the next call if it came to its end."""
        # Popped, so that two iterators of one loader never share a pipeline; only one is kept, to bound the memory.
        run = self._idle.pop(samples, None)
        self._idle.clear()
        run = run or _Run(self, samples)
        run.source.batches = batches
        try:
            while (decoded := run.next_images()) is not None:
                made = self._make(run.source.in_pipeline.popleft(), decoded)
                run.hold(decoded)
                yield made
        finally:
            run.wait_until_read()
        self._idle = {samples: run}

    def _make(self, batch: InFlight, decoded: Sequence[Tensor] = ()) -> Batch:
        """Make a batch of its images on the device and of those that were decoded for it, in order."""
        rest, images, matrices = iter(decoded), [], []
        self._keep_size(batch.plan.size)
        for row, source, parameters in zip(batch.plan.rows.tolist(), batch.sources, batch.parameters(), strict=True):
            factor = self._factor(batch, row)
            image = source if isinstance(source, Tensor) else self._to_levels(row, factor, next(rest))
            if self.device_cache is not None:
                self.device_cache.put(row, factor, image)
            images.append(image)
            matrices.append(scale_matrix(parameters.matrix, factor))
        image = warp_batch(images, matrices, batch.plan.input_size)
        apply_to_batch([parameters.pixel_transforms for parameters in batch.parameters()], image)
        return batch.to_batch(image)

    def _keep_size(self, size: int) -> None:
        """Keep decoded images for this size of the network from now on, and forget those for another."""
        if self.device_cache is not None and size != self._cached_size:
            self.device_cache.clear()
            self._cached_size = size

    def _to_levels(self, row: int, factor: int, decoded: Tensor) -> Tensor:
        """Return the levels of a decoded image.

        Raises:
            UserError: When the image has another size than the table has for it.
        """
        shape, image_format = self.reader.table.shape(row), str(self.reader.table.image_format[row])
        if decoded.shape != shape:
            found = f"the {image_format} file has the shape {tuple(decoded.shape)}"
            raise damaged_sample(self.reader, row, found, f"a gray image of shape {shape}")
        return to_levels(decoded, _DTYPES[image_format], factor)

    def _factor(self, batch: InFlight, row: int) -> int:
        return downsample_factor(*self.reader.table.shape(row), batch.plan.size)

    def decoding_error(self, batch: InFlight, error: RuntimeError) -> Exception:
        """Return the error that names the sample which DALI cannot decode, or DALI's own error when there is none."""
        if is_out_of_memory(error):
            return error
        sources = zip(batch.plan.rows.tolist(), batch.sources, strict=True)
        rows = [row for row, source in sources if not isinstance(source, Tensor)]
        for row in rows:
            # On the CPU: a GPU that has failed decodes no image, and none of them is damaged.
            if not can_decode(read_encoded(self.reader, row), None):
                found = f"the {self.reader.table.image_format[row]} file cannot be decoded"
                return damaged_sample(self.reader, row, found, "a gray image")
        refused = [row for row in rows if not can_decode(read_encoded(self.reader, row), self.device_id)]
        if not refused or len(refused) == len(rows) > 1:
            return error
        return UserError(
            f"{self.reader.describe(refused[0])}: DALI decodes it on a CPU and not on the GPU ({first_line(error)})",
            "an image that nvJPEG decodes",
            "set --loader opencv",
        )


class _Source:
    """What a pipeline takes its files from. It does not refer to the pipeline: unused, that ends at once.

    Args:
        loader: Knows which sample cannot be decoded.
    """

    def __init__(self, loader: DaliLoader) -> None:
        self.loader = loader
        self.batches: Iterator[InFlight] = iter(())
        self.in_pipeline: deque[InFlight] = deque()

    def __call__(self) -> Files:
        """Return the next batch's files; StopIteration ends the run."""
        batch = next(self.batches)
        self.in_pipeline.append(batch)
        return _files(batch)


class _Run:
    """A pipeline and the batches that are in it."""

    def __init__(self, loader: DaliLoader, samples: int) -> None:
        self.source = _Source(loader)
        self._being_read: deque[tuple[Sequence[Tensor], Any]] = deque()
        self.pipeline = build_pipeline(self.source, samples, loader.device_id, loader.workers)

    def next_images(self) -> list[Tensor] | None:
        """Return the decoded images of the first batch in the pipeline, (rows, columns) each; None after the last.

        Raises:
            UserError: Naming the sample that DALI cannot decode.
        """
        try:
            (output,) = self.pipeline.run()
        except StopIteration:
            self.pipeline.reset()
            return None
        except RuntimeError as error:
            if not self.source.in_pipeline:
                raise
            raise self.source.loader.decoding_error(self.source.in_pipeline[0], error) from error
        return [from_dlpack(image)[..., 0] for image in output]

    def hold(self, decoded: Sequence[Tensor]) -> None:
        """Keep images on a GPU until the operations begun so far have read them.

        torch would reuse its memory only after them. This is DALI's, which would decode its next images into it as soon
        as nothing refers to it.
        """
        if decoded and decoded[0].is_cuda:
            self._being_read.append((decoded, torch.cuda.current_stream(decoded[0].device).record_event()))
        while self._being_read and self._being_read[0][1].query():
            self._being_read.popleft()

    def wait_until_read(self) -> None:
        """Wait until DALI's memory is no longer read from."""
        while self._being_read:
            self._being_read.popleft()[1].synchronize()


def _files(batch: InFlight) -> Files:
    """Return the files of a batch that are to be decoded, in order."""
    return [source for source in batch.sources if not isinstance(source, Tensor)]
