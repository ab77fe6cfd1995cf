"""The ensembler: images divided over all ranks, networks averaged, masks encoded on the rank that predicted them.

No pixels are sent between ranks::

    for each of this rank's images: mean of the networks -> histogram -> decision rule -> mask, or none -> run lengths
    leader: gather run lengths
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.encoding import EncodedMask, encode_batches
from pneumo.inference.histograms import BINS
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.prediction import count_pixels, split_batches
from pneumo.loading.images import read_image
from pneumo.masks import rle
from pneumo.runtime.console import Progress


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """The ensemble's prediction for one image, without pixels."""

    image_id: str
    rle: str
    """The mask's run lengths in the format of a submission."""
    presence_probability: float
    """Mean over the runs with a presence head; NaN without any."""
    mask_area: int
    """Pixels of the mask."""
    max_pixel_probability: float
    """Maximum over the image's pixels, the lower end of its bin."""


@dataclass(frozen=True, eq=False)
class PredictedImage:
    """The ensemble's prediction for one image with its pixels, at the size of the source image."""

    prediction: ImagePrediction
    row: int
    """Row of the sample table."""
    read_probability: Callable[[], npt.NDArray[np.float32]]
    """Brings ``probability`` from the device."""
    mask: npt.NDArray[np.uint8]
    """(rows, columns), 0 or 1."""
    reader: ShardReader

    @cached_property
    def probability(self) -> npt.NDArray[np.float32]:
        """(rows, columns) in [0, 1], made when it is asked for."""
        return self.read_probability()

    @cached_property
    def source(self) -> npt.NDArray[np.float32]:
        """(rows, columns) in [0, 1]: the source image, decoded when it is asked for."""
        return read_image(self.reader, self.row)


OnImage = Callable[[PredictedImage], None]


class Ensembler:
    """Makes masks of the mean of networks.

    Args:
        mean: The networks, and the reader of the images.
        rule: Makes masks of the averaged probabilities.
        min_component: Connected components of a mask smaller than this are removed, in pixels of a 1024x1024 image.
    """

    def __init__(self, mean: NetworkMean, rule: DecisionRule, *, min_component: float = 0.0) -> None:
        self.mean, self.rule, self.min_component = mean, rule, min_component

    def run(self, rows: Rows, on_image: OnImage | None = None, *, what: str = "ensemble") -> list[ImagePrediction]:
        """Predict images. Collective over all ranks.

        Args:
            rows: Their rows in the sample table; the same on every rank.
            on_image: Called with each image on the rank that predicts it; must not keep the pixels, so that memory
                does not grow with the number of images.
            what: Name of the work in the lines of its progress.

        Returns:
            The predictions in the order of ``rows`` on rank 0, an empty list on the others.
        """
        world, reader = self.mean.world, self.mean.reader
        batches = split_batches(rows)[world.rank :: world.size]
        mine: dict[int, ImagePrediction] = {}
        counted = count_pixels(self.mean.predict(batches), world.device)
        masks = encode_batches(counted, lambda _: self.rule, world.device, min_component=self.min_component)
        with Progress(what, sum(map(len, batches)), unit="images", enabled=world.is_leader) as progress:
            for mask in masks:
                mine[mask.row] = prediction = _describe(mask, str(reader.table.image_id[mask.row]))
                if on_image is not None:
                    on_image(_with_pixels(mask, prediction, reader))
                progress.step()
        by_row = {row: prediction for part in world.gather(mine) for row, prediction in part.items()}
        return [by_row[row] for row in rows.tolist()] if world.is_leader else []


def _describe(mask: EncodedMask, image_id: str) -> ImagePrediction:
    counted = mask.counted
    return ImagePrediction(
        image_id=image_id,
        rle=mask.rle,
        presence_probability=counted.presence[mask.position],
        mask_area=mask.area,
        max_pixel_probability=int(np.flatnonzero(counted.counts[mask.position].any(axis=0))[-1]) / BINS,
    )


def _with_pixels(mask: EncodedMask, prediction: ImagePrediction, reader: ShardReader) -> PredictedImage:
    batch = mask.counted.batch
    return PredictedImage(
        prediction=prediction,
        row=mask.row,
        read_probability=lambda: batch.probability(mask.position).cpu().numpy(),
        mask=rle.decode(mask.rle, *batch.shapes[mask.position]),
        reader=reader,
    )
