"""The loader for CPUs: OpenCV decodes, shrinks and warps one sample per thread; all augmentations are available.

The batches depend on the plans alone, not on the number of threads or their timing.
"""

from collections.abc import Iterator

import cv2
import torch

from pneumo.loading.augmentation.parameters import AugmentationParameters
from pneumo.loading.contract import Batch, BatchPlan
from pneumo.loading.geometry import downsample_factor, scale_matrix
from pneumo.loading.images import read_image
from pneumo.loading.masks import warp
from pneumo.loading.threaded import InFlight, ThreadedLoader


class _ImagesInFlight(InFlight):
    """A batch whose images and masks are being made."""

    def __init__(self, plan: BatchPlan, device: torch.device) -> None:
        super().__init__(plan, device)
        self.image = torch.empty(self.shape, dtype=torch.float32, pin_memory=self.pin_memory)


class OpenCvLoader(ThreadedLoader[_ImagesInFlight]):
    """Makes whole samples in its threads, which OpenCV lets run in parallel: it releases Python's lock."""

    def allocate(self, plan: BatchPlan) -> _ImagesInFlight:
        """Allocate images and masks."""
        return _ImagesInFlight(plan, self.device)

    def prepare_sample(self, batch: _ImagesInFlight, index: int) -> AugmentationParameters:
        """Fill a sample's image and mask."""
        plan, row = batch.plan, int(batch.plan.rows[index])
        parameters = plan.parameters(index, self.table)
        image = batch.image[index, 0].numpy()
        factor = downsample_factor(*self.source_shape(row), plan.size)
        source = read_image(self.reader, row, factor)
        warp(source, scale_matrix(parameters.matrix, factor), image, cv2.INTER_LINEAR)
        mask = self.draw_mask(batch, index, parameters)
        for transform in parameters.pixel_transforms:
            transform.apply_to_arrays(image, mask)
        return parameters

    def finish(self, batches: Iterator[_ImagesInFlight]) -> Iterator[Batch]:
        """Copy each batch to the device."""
        for batch in batches:
            batch.parameters()
            yield batch.to_batch(batch.image.to(self.device, non_blocking=True))
