"""The ensembler: images divided over all ranks, networks averaged, masks encoded on the rank that predicted them.

No pixels are sent between ranks, and none are kept for longer than a block of images: memory grows with the size of
the images of a block, not with the number of images or folds::

    for each of this rank's blocks of images
        for each run
            load the block once at the run's size
            for each fold: load its weights, add the mean of its views
            mean over folds -> the source image's size, times the run's weight
        decision rule -> mask -> run lengths
    leader: gather run lengths
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed import heartbeat
from pneumo.distributed.world import World
from pneumo.inference.build import InferenceConfig, build
from pneumo.inference.components import remove_small_components
from pneumo.inference.decision_rule import DecisionRule, apply_rule
from pneumo.inference.histograms import BINS, quantize
from pneumo.inference.prediction import plan_batches, split_batches
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.contract import Loader
from pneumo.loading.images import read_image
from pneumo.masks import rle
from pneumo.modeling import weights
from pneumo.runtime.console import Progress

BLOCK = 8
"""Batches that are held in memory while all networks predict them."""


@dataclass(frozen=True, kw_only=True)
class EnsembledRun:
    """One run in an ensemble."""

    config: InferenceConfig
    weight_files: tuple[Path, ...]
    """A safetensors file for each fold."""
    weight: float
    """Weight of the run in the mean; those of all runs sum to 1."""


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
    probability: npt.NDArray[np.float32]
    """(rows, columns) in [0, 1]."""
    mask: npt.NDArray[np.uint8]
    """(rows, columns), 0 or 1."""
    reader: ShardReader

    @cached_property
    def source(self) -> npt.NDArray[np.float32]:
        """(rows, columns) in [0, 1]: the source image, decoded when it is asked for."""
        return read_image(self.reader, self.row)


OnImage = Callable[[PredictedImage], None]


class Ensembler:
    """Averages the networks of one or more runs.

    Args:
        runs: The runs.
        rule: Makes masks of the averaged probabilities.
        reader: Gives the images.
        world: The ranks that share the images.
        workers: Threads of the loaders.
        min_component: Connected components of a mask smaller than this are removed, in pixels of a 1024x1024 image.
    """

    def __init__(
        self,
        runs: Sequence[EnsembledRun],
        rule: DecisionRule,
        *,
        reader: ShardReader,
        world: World,
        workers: int,
        min_component: float = 0.0,
    ) -> None:
        assert abs(sum(run.weight for run in runs) - 1) < 1e-6
        self.runs, self.rule, self.reader, self.world, self.workers = runs, rule, reader, world, workers
        self.min_component = min_component
        # One network for each run, into which the weights of one fold after the other are loaded.
        self.loaders_and_predictors = [build(run.config, reader, world.device, workers=workers) for run in runs]

    def run(self, rows: Rows, on_image: OnImage | None = None) -> list[ImagePrediction]:
        """Predict images. Collective over all ranks.

        Args:
            rows: Their rows in the sample table; the same on every rank.
            on_image: Called with each image on the rank that predicts it; must not keep the pixels, so that memory
                does not grow with the number of images.

        Returns:
            The predictions in the order of ``rows`` on rank 0, an empty list on the others.
        """
        batches = split_batches(rows)[self.world.rank :: self.world.size]
        mine: dict[int, ImagePrediction] = {}
        with Progress("ensemble", sum(map(len, batches)), unit="images", enabled=self.world.is_leader) as progress:
            for first in range(0, len(batches), BLOCK):
                block = batches[first : first + BLOCK]
                mine |= self._predict_block(block, on_image)
                progress.step(sum(map(len, block)))
        by_row = {row: prediction for part in self.world.gather(mine) for row, prediction in part.items()}
        return [by_row[row] for row in rows.tolist()] if self.world.is_leader else []

    def _predict_block(self, batches: Sequence[Rows], on_image: OnImage | None) -> dict[int, ImagePrediction]:
        """Predict some batches of images with every network."""
        rows = np.concatenate(batches).tolist()
        shapes = [self.reader.table.shape(row) for row in rows]
        pixels = [torch.zeros(shape) for shape in shapes]
        presence = np.zeros((len(rows), 2))  # weighted sum, and sum of the weights of the runs with a presence head
        for run, (loader, predictor) in zip(self.runs, self.loaders_and_predictors, strict=True):
            maps, probabilities = self._predict_run(run, loader, predictor, batches)
            for i, shape in enumerate(shapes):
                pixels[i] += run.weight * to_source(maps[i], *shape).cpu()
            has_head = ~np.isnan(probabilities)
            presence += run.weight * np.stack([np.where(has_head, probabilities, 0), has_head], axis=1)
        with np.errstate(invalid="ignore"):
            means = presence[:, 0] / presence[:, 1]
        predictions = {}
        for i, row in enumerate(rows):
            image = self._apply_rule(row, pixels[i].numpy(), float(means[i]))
            if on_image is not None:
                on_image(image)
            predictions[row] = image.prediction
        return predictions

    def _predict_run(
        self, run: EnsembledRun, loader: Loader, predictor: Predictor, batches: Sequence[Rows]
    ) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
        """Return one run's mean over folds and views: maps (n, S, S) on the device, presence probabilities (n,)."""
        loaded = list(loader(plan_batches(batches, predictor.size)))
        sizes = [len(batch.rows) for batch in loaded]
        maps = torch.zeros(sum(sizes), predictor.size, predictor.size, device=self.world.device)
        presence = np.zeros(len(maps))
        folds = len(run.weight_files)
        for path in run.weight_files:
            weights.load(predictor.network, path)
            start = 0
            for batch, size in zip(loaded, sizes, strict=True):
                heartbeat.touch("predicting test images")
                pixels, probabilities = predictor(batch.image)
                maps[start : start + size] += pixels / folds
                presence[start : start + size] += probabilities / folds
                start += size
        return maps, presence

    def _apply_rule(self, row: int, probability: npt.NDArray[np.float32], presence: float) -> PredictedImage:
        bins = quantize(probability)
        mask = apply_rule(bins, self.rule, presence)
        if self.min_component > 0:
            mask = remove_small_components(mask, self.min_component)
        prediction = ImagePrediction(
            image_id=str(self.reader.table.image_id[row]),
            rle=rle.encode(mask),
            presence_probability=presence,
            mask_area=int(mask.sum()),
            max_pixel_probability=int(bins.max()) / BINS,
        )
        return PredictedImage(prediction, row, probability, mask, self.reader)
