"""The loader for GPUs: DALI decodes (nvJPEG) and warps on the device, ahead of the training step.

Threads on the host draw the parameters and rasterize the masks, DALI applies the matrices, and changes of pixel values
are applied to its output on the device. OpenCV's loader is the faster one on a CPU.
"""

from collections import deque
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.device_memory import is_out_of_memory
from pneumo.loading.augmentation.parameters import AugmentationParameters
from pneumo.loading.contract import Batch
from pneumo.loading.dali_pipeline import (
    Inputs,
    PipelineShape,
    batch_inputs,
    build_pipeline,
    can_decode,
    sample_inputs,
)
from pneumo.loading.geometry import downsample_factor
from pneumo.loading.images import damaged_sample, read_encoded
from pneumo.loading.masks import rasterize_mask
from pneumo.loading.threaded import InFlight, ThreadedLoader
from pneumo.runtime.errors import UserError, first_line

MAX_PIPELINE_THREADS = 8
"""Threads of a pipeline. Each keeps some ten megabytes of the GPU's memory for decoding, and a few keep a GPU busy."""


class DaliLoader(ThreadedLoader):
    """Makes images in a DALI pipeline, which has threads of its own."""

    images_in_threads = False

    def __init__(self, reader: ShardReader, device: torch.device, workers: int) -> None:
        # A tensor knows which device "cuda" means.
        super().__init__(reader, torch.empty(0, device=device).device, workers)
        self.device_id = self.device.index if self.device.type == "cuda" else None
        self._largest_batch = 1
        self._idle: dict[PipelineShape, _Run] = {}

    def prepare_sample(self, batch: InFlight, index: int) -> AugmentationParameters:
        """Draw a sample's parameters, and rasterize its mask."""
        parameters = batch.plan.parameters(index, self.reader.table)
        rasterize_mask(self.reader, int(batch.plan.rows[index]), parameters.matrix, batch.mask[index, 0].numpy())
        return parameters

    def finish(self, batches: Iterator[InFlight]) -> Iterator[Batch]:
        """Run the batches through pipelines; batches in a row that need the same one share it."""
        for shape, group in groupby(batches, self._pipeline_shape):
            yield from self._run(shape, group)

    def _pipeline_shape(self, batch: InFlight) -> PipelineShape:
        """Return the shape of the pipeline for a batch; one for the largest batch so far serves smaller ones too."""
        self._largest_batch = max(self._largest_batch, len(batch.samples))
        table, plan = self.reader.table, batch.plan
        factor = max(downsample_factor(*table.shape(row), plan.size) for row in plan.rows.tolist())
        return PipelineShape(self._largest_batch, downsample_steps=factor.bit_length() - 1)

    def _run(self, shape: PipelineShape, batches: Iterator[InFlight]) -> Iterator[Batch]:
        """Run batches of one shape through a pipeline, which is kept for the next call if it came to its end."""
        # Popped, so that two iterators of one loader never share a pipeline; only one is kept, to bound the memory.
        run = self._idle.pop(shape, None)
        self._idle.clear()
        run = run or _Run(self, shape)
        run.source.batches = batches
        try:
            while (image := run.next_images()) is not None:
                batch = run.source.in_pipeline.popleft()
                for sample, parameters in zip(image, batch.parameters(), strict=True):
                    for transform in parameters.pixel_transforms:
                        transform.apply_to_tensor(sample)
                yield batch.to_batch(image)
        finally:
            run.wait_for_copies()
        self._idle = {shape: run}

    def inputs(self, batch: InFlight, shape: PipelineShape) -> Inputs:
        """Return the pipeline's inputs for a batch."""
        samples = [
            sample_inputs(
                read_encoded(self.reader, row),
                self.reader.table.shape(row),
                parameters.matrix,
                size=batch.plan.size,
                steps=shape.downsample_steps,
            )
            for row, parameters in zip(batch.plan.rows.tolist(), batch.parameters(), strict=True)
        ]
        return batch_inputs(samples, shape)

    def decoding_error(self, batch: InFlight, error: RuntimeError) -> Exception:
        """Return the error that names the sample which DALI cannot decode, or DALI's own error when there is none."""
        if is_out_of_memory(error):
            return error
        rows = batch.plan.rows.tolist()
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
    """What a pipeline takes its inputs from. It does not refer to the pipeline: unused, that ends at once.

    Args:
        loader: Makes the inputs.
        shape: Shape of the pipeline.
    """

    def __init__(self, loader: DaliLoader, shape: PipelineShape) -> None:
        self.loader, self.shape = loader, shape
        self.batches: Iterator[InFlight] = iter(())
        self.in_pipeline: deque[InFlight] = deque()

    def __call__(self) -> Inputs:
        """Return the next batch's inputs; StopIteration ends the run."""
        batch = next(self.batches)
        inputs = self.loader.inputs(batch, self.shape)
        self.in_pipeline.append(batch)
        return inputs


class _Run:
    """A pipeline and the batches that are in it."""

    def __init__(self, loader: DaliLoader, shape: PipelineShape) -> None:
        self.source = _Source(loader, shape)
        self._being_copied: deque[tuple[torch.Tensor, Any]] = deque()
        self.pipeline = build_pipeline(self.source, shape, loader.device_id, min(loader.workers, MAX_PIPELINE_THREADS))

    def next_images(self) -> torch.Tensor | None:
        """Return the images of the first batch in the pipeline, (N, 1, size, size), or None after the last.

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
        images: torch.Tensor = from_dlpack(output.as_tensor())
        samples, height, width, _ = images.shape
        return self._copy(images).view(samples, 1, height, width)

    def _copy(self, images: torch.Tensor) -> torch.Tensor:
        """Copy images on a GPU from DALI's memory into torch's.

        A step's kernels may still have to read a batch after its last reference is dropped. torch reuses memory only
        after them; DALI would write its next batch there at once. The copy stays on the device.
        """
        if not images.is_cuda:
            return images
        copy = images.clone()
        copied = torch.cuda.current_stream(images.device).record_event()
        self._being_copied.append((images, copied))
        while self._being_copied and self._being_copied[0][1].query():
            self._being_copied.popleft()
        return copy

    def wait_for_copies(self) -> None:
        """Wait until DALI's memory is no longer read from."""
        while self._being_copied:
            self._being_copied.popleft()[1].synchronize()
