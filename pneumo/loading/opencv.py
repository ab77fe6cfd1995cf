"""The loader for CPUs: OpenCV decodes, downsamples and warps one sample per thread; it has all augmentations.

The batches depend only on the plans, not on the number of threads or their timing.
"""

from collections.abc import Iterator

from pneumo.loading.augmentation.parameters import AugmentationParameters
from pneumo.loading.contract import Batch
from pneumo.loading.geometry import downsample_factor, scale_matrix
from pneumo.loading.masks import rasterize_mask
from pneumo.loading.threaded import InFlight, ThreadedLoader
from pneumo.loading.warp import make_image


class OpenCvLoader(ThreadedLoader):
    """Makes whole samples in its threads, which run in parallel: OpenCV releases Python's lock."""

    images_in_threads = True
    caches_on_host = True

    def prepare_sample(self, batch: InFlight, index: int, parameters: AugmentationParameters) -> None:
        """Fill in a sample's image and mask."""
        row, table = int(batch.plan.rows[index]), self.reader.table
        image, mask = batch.image_of(index), batch.mask_of(index)
        factor = downsample_factor(*table.shape(row), batch.plan.size)
        pixels = self.read_reduced(row, factor)
        if mask is not None:
            rasterize_mask(self.reader, row, parameters.matrix, mask, self.cache)
        make_image(pixels, scale_matrix(parameters.matrix, factor), parameters.pixel_transforms, image, mask)

    def finish(self, batches: Iterator[InFlight]) -> Iterator[Batch]:
        """Copy each batch to the device."""
        for batch in batches:
            batch.parameters()
            yield batch.to_batch(batch.image.to(self.device, non_blocking=True))
