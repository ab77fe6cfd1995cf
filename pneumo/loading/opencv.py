"""The loader for CPUs: OpenCV decodes, shrinks and warps one sample a thread; albumentations distorts.

What it gives depends on the plan alone, never on the number of threads or on their timing.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dicom.image_codec import Pixels, to_float
from pneumo.loading.augmentation import AugmentationParameters
from pneumo.loading.batches import Batch, BatchPlan
from pneumo.loading.distortion import distort
from pneumo.loading.encoded_images import damaged_sample, encoded_image
from pneumo.loading.geometry import downsample_factor, downsampled_shape, scale_matrix
from pneumo.loading.masks import draw_mask, warp
from pneumo.loading.prefetch import prefetch, threads

JPEG_REDUCED = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""libjpeg shrinks by leaving out high frequencies of each 8x8 block, faster than decoding them."""


@dataclass(frozen=True, kw_only=True)
class _InFlight:
    """A batch whose samples are being made."""

    plan: BatchPlan
    image: torch.Tensor
    mask: torch.Tensor
    samples: list[Future[None]]


class OpenCvLoader:
    """Fulfils ``batches.Loader`` with threads; OpenCV works outside of Python's lock.

    Args:
        reader: Gives the members' bytes.
        table: The sample table that plans refer to.
        device: Where batches go.
        workers: Threads.
    """

    def __init__(self, reader: ShardReader, table: SampleTable, device: torch.device, workers: int) -> None:
        self.reader, self.table, self.device, self.workers = reader, table, device, workers

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """Yield the batch of each plan, in order.

        Raises:
            UserError: Naming the image and its shard when a member is damaged.
        """
        with threads(self.workers) as pool:
            started = (self._start(pool, plan) for plan in plans)
            for pending in prefetch(started, lambda p: len(p.samples), 2 * self.workers):
                yield self._finish(pending)

    def _start(self, pool: ThreadPoolExecutor, plan: BatchPlan) -> _InFlight:
        pin = self.device.type == "cuda"
        shape = (len(plan.rows), 1, plan.size, plan.size)
        image = torch.empty(shape, dtype=torch.float32, pin_memory=pin)
        mask = torch.zeros(shape, dtype=torch.uint8, pin_memory=pin)
        samples = [
            pool.submit(self._make_sample, plan, index, image[index, 0].numpy(), mask[index, 0].numpy())
            for index in range(len(plan.rows))
        ]
        return _InFlight(plan=plan, image=image, mask=mask, samples=samples)

    def _finish(self, pending: _InFlight) -> Batch:
        for sample in pending.samples:
            sample.result()
        return Batch(
            image=pending.image.to(self.device, non_blocking=True),
            # A quarter of the bytes cross the bus.
            mask=pending.mask.to(self.device, non_blocking=True).float(),
            rows=pending.plan.rows,
        )

    def _make_sample(
        self, plan: BatchPlan, index: int, image: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8]
    ) -> None:
        """Fill one sample's image and mask, (size, size) each; the mask comes as zeros."""
        row, parameters = int(plan.rows[index]), plan.parameters(index, self.table)
        rows, columns = int(self.table.rows[row]), int(self.table.columns[row])
        factor = downsample_factor(rows, columns, plan.size)
        source = read_image(self.reader, row, factor)
        warp(source, scale_matrix(parameters.matrix, factor), image, cv2.INTER_LINEAR)
        apply_intensity(image, parameters)
        draw_mask(self.reader, row, parameters.matrix, mask)
        if parameters.distortion is not None:
            image[:], mask[:] = distort(parameters.distortion, parameters.distortion_seed, image, mask)


def read_image(reader: ShardReader, row: int, factor: int = 1) -> npt.NDArray[np.float32]:
    """Decode a row's image, shrunk by a factor.

    Args:
        reader: Gives the member's bytes.
        row: Row of the sample table.
        factor: 1, 2, 4 or 8.

    Returns:
        (rows, columns) in [0, 1].

    Raises:
        UserError: When the member cannot be decoded or has another size than the table says.
    """
    table = reader.table
    shape = int(table.rows[row]), int(table.columns[row])
    by_decoder = factor > 1 and table.encoding[row] == "jpg"
    # Without the second flag an orientation tag in the file would turn the image away from its mask.
    flags = JPEG_REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION if by_decoder else cv2.IMREAD_UNCHANGED
    expected = downsampled_shape(*shape, factor) if by_decoder else shape
    pixels = _decode(encoded_image(reader, row), flags)
    if pixels is None or pixels.shape != expected:
        found = "cannot be decoded" if pixels is None else f"has the shape {pixels.shape}"
        raise damaged_sample(
            reader, row, f"the {table.encoding[row]} file {found}", f"a gray image of shape {expected}"
        )
    image = to_float(pixels)
    return image if by_decoder or factor == 1 else shrink(image, factor)


def _decode(data: npt.NDArray[np.uint8], flags: int) -> Pixels | None:
    """Return the pixels of a JPEG or PNG file, or None when it is damaged."""
    try:
        return cv2.imdecode(data, flags)  # type: ignore[return-value]
    except cv2.error:
        return None


def shrink(image: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Return the averages of blocks of factor x factor pixels; the far edges are repeated to fill their blocks."""
    rows, columns = image.shape
    small_rows, small_columns = downsampled_shape(rows, columns, factor)
    bottom, right = small_rows * factor - rows, small_columns * factor - columns
    padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(padded, (small_columns, small_rows), interpolation=cv2.INTER_AREA), np.float32)


def apply_intensity(image: npt.NDArray[np.float32], parameters: AugmentationParameters) -> None:
    """Put an image in [0, 1] through its tone curve, in place; the identity leaves it untouched."""
    if parameters.gamma != 1:
        cv2.pow(image, parameters.gamma, dst=image)
    if parameters.contrast != 1 or parameters.brightness != 0:
        np.multiply(image, np.float32(parameters.contrast), out=image)
        np.add(image, np.float32(parameters.brightness), out=image)
        np.clip(image, 0, 1, out=image)
