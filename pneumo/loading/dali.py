"""The loader for GPUs: DALI decodes (nvJPEG) and warps on the device, ahead of the training step.

Nothing random is left to DALI: host threads draw the parameters and the masks, DALI applies the matrices, and the
tone curve is applied to the batch where it lies. On a CPU the same pipeline runs DALI's CPU operators, which
keeps it testable there; OpenCV is the faster one on a CPU.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.dlpack import from_dlpack

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.loading.augmentation import AugmentationParameters
from pneumo.loading.batches import Batch, BatchPlan
from pneumo.loading.encoded_images import damaged_sample, encoded_image
from pneumo.loading.geometry import downsample_factor, downsampled_shape, scale_matrix, to_corner_coordinates
from pneumo.loading.masks import draw_mask
from pneumo.loading.prefetch import prefetch, threads

# Not an import statement: DALI exists on Linux alone, and its type stubs lack its own constants.
dali = import_module("nvidia.dali")
fn, types = dali.fn, dali.types


class _Shape(NamedTuple):
    """What a pipeline is built for."""

    samples: int
    """Largest batch."""
    downsample_steps: int
    """How often the most reduced sample is halved before the warp."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _InFlight:
    """A batch whose masks and parameters are being made."""

    plan: BatchPlan
    mask: torch.Tensor
    factors: list[int]
    samples: list[Future[AugmentationParameters]]

    def parameters(self) -> list[AugmentationParameters]:
        return [sample.result() for sample in self.samples]


class DaliLoader:
    """Fulfils ``batches.Loader`` with a DALI pipeline.

    Args:
        reader: Gives the members' bytes.
        table: The sample table that plans refer to.
        device: Where batches go; the pipeline works there too.
        workers: Threads for the host's share, and as many of DALI's.
    """

    def __init__(self, reader: ShardReader, table: SampleTable, device: torch.device, workers: int) -> None:
        self.reader, self.table, self.workers = reader, table, workers
        # A tensor knows which device "cuda" means.
        self.device = torch.empty(0, device=device).device
        self.device_id = self.device.index if self.device.type == "cuda" else None
        self._largest = 1
        self._idle: dict[_Shape, _Run] = {}

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """Yield the batch of each plan, in order.

        Raises:
            UserError: Naming the image and its shard when a member is damaged.
        """
        with threads(self.workers) as pool:
            started = (self._start(pool, plan) for plan in plans)
            pending = prefetch(started, lambda p: len(p.samples), 2 * self.workers)
            for shape, group in groupby(pending, self._shape):
                yield from self._run(shape, group)

    def _start(self, pool: ThreadPoolExecutor, plan: BatchPlan) -> _InFlight:
        mask = torch.zeros(
            (len(plan.rows), 1, plan.size, plan.size), dtype=torch.uint8, pin_memory=self.device_id is not None
        )
        return _InFlight(
            plan=plan,
            mask=mask,
            factors=[downsample_factor(*self._size(row), plan.size) for row in plan.rows],
            samples=[pool.submit(self._prepare, plan, i, mask[i, 0].numpy()) for i in range(len(plan.rows))],
        )

    def _prepare(self, plan: BatchPlan, index: int, mask: npt.NDArray[np.uint8]) -> AugmentationParameters:
        """Draw one sample's parameters and its mask."""
        parameters = plan.parameters(index, self.table)
        assert parameters.distortion is None, "batches.build gives the other loader to plans with distortion"
        draw_mask(self.reader, int(plan.rows[index]), parameters.matrix, mask)
        return parameters

    def _size(self, row: int) -> tuple[int, int]:
        return int(self.table.rows[row]), int(self.table.columns[row])

    def _shape(self, pending: _InFlight) -> _Shape:
        """Return what pipeline the batch needs; one for the largest batch so far does for smaller ones too."""
        self._largest = max(self._largest, len(pending.samples))
        return _Shape(samples=self._largest, downsample_steps=max(pending.factors).bit_length() - 1)

    def _run(self, shape: _Shape, batches: Iterator[_InFlight]) -> Iterator[Batch]:
        """Put batches of one kind through a pipeline, which is kept for the next call when all went well."""
        # Popped, so that two iterators of one loader never share a pipeline; one is kept, for its memory's sake.
        run = self._idle.pop(shape, None) or _Run(self, shape)
        self._idle.clear()
        run.batches = batches
        try:
            while (image := run.next_images()) is not None:
                yield self._finish(run.under_way.popleft(), image)
        finally:
            run.settle()
        self._idle = {shape: run}

    def _finish(self, pending: _InFlight, image: torch.Tensor) -> Batch:
        for sample, parameters in zip(image, pending.parameters(), strict=True):
            apply_intensity(sample, parameters)
        return Batch(
            image=image,
            # A quarter of the bytes cross the bus.
            mask=pending.mask.to(self.device, non_blocking=True).float(),
            rows=pending.plan.rows,
        )

    def encoded(self, pending: _InFlight) -> list[npt.NDArray[np.uint8]]:
        """Return the batch's JPEG and PNG files, each (bytes,)."""
        return [encoded_image(self.reader, int(row)) for row in pending.plan.rows]

    def inputs(self, pending: _InFlight, halvings: int) -> tuple[list[npt.NDArray[Any]], ...]:
        """Return the pipeline's inputs: files, matrices, network sizes, and each halving's sizes and extents."""
        matrices, halved, extents = [], [], []
        for row, factor, parameters in zip(pending.plan.rows, pending.factors, pending.parameters(), strict=True):
            matrices.append(to_corner_coordinates(scale_matrix(parameters.matrix, factor)).astype(np.float32))
            sizes, covered = _downsample_steps(*self._size(row), factor, halvings)
            halved.append(sizes)
            extents.append(covered)
        network = [np.full(2, pending.plan.size, np.float32)] * len(matrices)
        inputs = self.encoded(pending), matrices, network
        # DALI warns of inputs that nothing uses.
        return (*inputs, halved, extents) if halvings else inputs

    def explain(self, pending: _InFlight, error: RuntimeError) -> Exception:
        """Find the sample of a batch that DALI failed on, by decoding each alone; otherwise give the error back."""
        for row, data in zip(pending.plan.rows, self.encoded(pending), strict=True):
            kind = self.table.encoding[row]
            try:
                _decode_alone(data, self.device_id)
            except RuntimeError:
                return damaged_sample(self.reader, int(row), f"the {kind} file cannot be decoded", "a gray image")
        return error


class _Run:
    """A pipeline and the batches that are in it."""

    def __init__(self, loader: DaliLoader, shape: _Shape) -> None:
        self.loader, self.shape = loader, shape
        self.batches: Iterator[_InFlight] = iter(())
        self.under_way: deque[_InFlight] = deque()
        self._lent: deque[tuple[torch.Tensor, Any]] = deque()
        self.pipeline = _build(self._feed, shape, loader.device_id, loader.workers)

    def _feed(self) -> tuple[list[npt.NDArray[Any]], ...]:
        """Give DALI its next batch; StopIteration ends the run."""
        pending = next(self.batches)
        inputs = self.loader.inputs(pending, self.shape.downsample_steps)
        self.under_way.append(pending)
        return inputs

    def next_images(self) -> torch.Tensor | None:
        """Return the images of the first batch under way, (N, 1, size, size), or None after the last.

        Raises:
            UserError: Naming the sample when DALI failed on one.
        """
        try:
            (output,) = self.pipeline.run()
        except StopIteration:
            self.pipeline.reset()
            return None
        except RuntimeError as error:
            if not self.under_way:
                raise
            raise self.loader.explain(self.under_way[0], error) from error
        images: torch.Tensor = from_dlpack(output.as_tensor())
        samples, height, width, _ = images.shape
        return self._own(images).view(samples, 1, height, width)

    def _own(self, images: torch.Tensor) -> torch.Tensor:
        """Return images in torch's memory.

        A step's kernels may still be waiting to read a batch when its last reference is gone; torch knows how to
        wait with the memory, DALI would hand it to its next batch. The copy stays on the device.
        """
        if not images.is_cuda:
            return images
        owned = images.clone()
        copied = torch.cuda.current_stream(images.device).record_event()
        self._lent.append((images, copied))
        while self._lent and self._lent[0][1].query():
            self._lent.popleft()
        return owned

    def settle(self) -> None:
        """Wait until DALI's memory is no longer read from."""
        while self._lent:
            self._lent.popleft()[1].synchronize()


def _build(source: Any, shape: _Shape, device_id: int | None, workers: int) -> Any:
    """Return a pipeline from ``DaliLoader.inputs`` to images of (size, size, 1) float32."""
    pipeline = dali.Pipeline(batch_size=shape.samples, num_threads=workers, device_id=device_id, prefetch_queue_depth=2)
    with pipeline:
        dimensions = [1, 2, 1, 2, 2] if shape.downsample_steps else [1, 2, 1]
        files, matrix, size, *halving = fn.external_source(
            source=source,
            num_outputs=len(dimensions),
            dtype=[types.UINT8] + [types.FLOAT] * (len(dimensions) - 1),
            ndim=dimensions,
        )
        image = _decode(files, device_id)
        for step in range(shape.downsample_steps):
            sizes, extents = halving
            # Two pixels to one by linear interpolation without further smoothing is their exact average.
            image = fn.resize(
                image,
                size=sizes[step],
                roi_start=[0.0, 0.0],
                roi_end=extents[step],
                interp_type=types.INTERP_LINEAR,
                antialias=False,
            )
        pipeline.set_outputs(
            fn.warp_affine(image, matrix=matrix, size=size, fill_value=0.0, interp_type=types.INTERP_LINEAR)
        )
    pipeline.build()
    return pipeline


def _decode(files: Any, device_id: int | None) -> Any:
    """Add the decoder: float in [0, 1] of 8-bit and 16-bit files alike, (rows, columns, 1)."""
    return fn.decoders.image(
        files,
        device="cpu" if device_id is None else "mixed",
        output_type=types.GRAY,
        dtype=types.FLOAT,
        # An orientation tag in the file would turn the image away from its mask.
        adjust_orientation=False,
    )


def _decode_alone(data: npt.NDArray[np.uint8], device_id: int | None) -> None:
    """Decode one file, for the sake of its errors."""
    pipeline = dali.Pipeline(batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        pipeline.set_outputs(_decode(fn.external_source(source=lambda: [data], dtype=types.UINT8, ndim=1), device_id))
    pipeline.build()
    pipeline.run()


def _downsample_steps(
    rows: int, columns: int, factor: int, count: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the steps by which a sample is reduced.

    Args:
        rows: Height of the source in pixels.
        columns: Width of the source in pixels.
        factor: 1, 2, 4 or 8.
        count: Number of steps that the pipeline has, at least as many as the factor takes.

    Returns:
        (count, 2) heights and widths after each step, and (count, 2) the extents of each step's input that they
        cover, beyond its far edges where a side is odd. Steps that the sample does not need change nothing.
    """
    sizes, extents = np.empty((count, 2), np.float32), np.empty((count, 2), np.float32)
    for step in range(count):
        by = 2 if 2 << step <= factor else 1
        rows, columns = downsampled_shape(rows, columns, by)
        sizes[step], extents[step] = (rows, columns), (rows * by, columns * by)
    return sizes, extents


def apply_intensity(image: torch.Tensor, parameters: AugmentationParameters) -> None:
    """Put an image in [0, 1] through its tone curve, in place; the identity leaves it untouched."""
    if parameters.gamma != 1:
        image.pow_(parameters.gamma)
    if parameters.contrast != 1 or parameters.brightness != 0:
        image.mul_(parameters.contrast).add_(parameters.brightness).clamp_(0, 1)
