"""The mean of many networks for each image: over the runs of an ensemble, their folds, and their views.

No pixels are sent between ranks, and memory does not grow with the number of images or folds, nor, but for one image,
with their size::

    for each block of this rank's batches
        for each run
            load the block once at the run's size
            for each fold: load its weights, add the mean of its views
        for each image
            mean over folds -> the source image's size, times the run's weight
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed import heartbeat
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.config import InferenceConfig
from pneumo.inference.prediction import BATCH_SIZE, plan_batches
from pneumo.inference.predictor import to_source
from pneumo.inference.weight_cache import WeightCache, memory_limit
from pneumo.modeling.trained_weights import TrainedWeights

BLOCK = 8
"""Batches, at most, that are held in memory while all networks predict them."""
BLOCK_PIXELS = 64 << 20
"""Pixels, at most, of a block's maps at the sizes of the networks' inputs, summed over the runs: 256 MiB. At least one
batch is held."""


@dataclass(frozen=True, kw_only=True)
class EnsembledRun:
    """One run in an ensemble."""

    config: InferenceConfig
    weights: tuple[TrainedWeights, ...]
    """The weights of each fold."""
    weight: float
    """Weight of the run in the mean; those of all runs sum to 1."""


class MeanPrediction(NamedTuple):
    """The mean for one image."""

    row: int
    """Row of the sample table."""
    probability: npt.NDArray[np.float32]
    """(rows, columns) in [0, 1], at the size of the source image."""
    presence_probability: float
    """Mean over the runs with a presence head; NaN without any."""


class NetworkMean:
    """Averages the networks of one or more runs.

    Args:
        runs: The runs.
        reader: Gives the images.
        world: The rank that predicts, and its device.
        workers: Threads of the loaders.
    """

    def __init__(self, runs: Sequence[EnsembledRun], *, reader: ShardReader, world: World, workers: int) -> None:
        assert abs(sum(run.weight for run in runs) - 1) < 1e-6
        self.runs, self.reader, self.world, self.workers = runs, reader, world, workers
        # One network for each run, into which the weights of one fold after the other are loaded.
        self.loaders_and_predictors = [build(run.config, reader, world.device, workers=workers) for run in runs]
        self.cache = WeightCache(memory_limit(world.ranks_on_machine))

    def blocks(self, batches: Sequence[Rows]) -> Iterator[Sequence[Rows]]:
        """Divide batches into those that ``predict_block`` takes at once."""
        pixels = BATCH_SIZE * sum(run.config.size**2 for run in self.runs)
        length = max(1, min(BLOCK, BLOCK_PIXELS // pixels))
        for first in range(0, len(batches), length):
            yield batches[first : first + length]

    def predict_block(self, batches: Sequence[Rows], fold: int | None = None) -> Iterator[MeanPrediction]:
        """Yield the mean for each image of a block, in order.

        Args:
            batches: Rows of the sample table.
            fold: Average the networks of this fold alone, which were not trained on its images; None = of all folds.

        Raises:
            UserError: When weights cannot be used, or give probabilities that are not finite.
        """
        maps, presences = zip(*(self._predict_run(i, batches, fold) for i in range(len(self.runs))), strict=True)
        for i, row in enumerate(np.concatenate(batches).tolist()):
            shape = self.reader.table.shape(row)
            pixels = torch.zeros(shape)
            for run, of_run in zip(self.runs, maps, strict=True):
                pixels += run.weight * to_source(of_run[i], *shape).cpu()
            yield MeanPrediction(row, pixels.numpy(), self._mean_presence([of_run[i] for of_run in presences]))

    def _predict_run(
        self, index: int, batches: Sequence[Rows], fold: int | None
    ) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
        """Return one run's mean over folds and views: maps (n, S, S) on the device, presence probabilities (n,)."""
        run, (loader, predictor) = self.runs[index], self.loaders_and_predictors[index]
        folds = run.weights if fold is None else run.weights[fold : fold + 1]
        loaded = list(loader(plan_batches(batches, predictor.size)))
        sizes = [len(batch.rows) for batch in loaded]
        maps = torch.zeros(sum(sizes), predictor.size, predictor.size, device=self.world.device)
        presence = np.zeros(len(maps))
        for weights in folds:
            weights.load(predictor.network, self.cache.read(weights))
            start = 0
            for batch, size in zip(loaded, sizes, strict=True):
                heartbeat.touch("predicting images")
                pixels, probabilities = predictor(batch.image)
                maps[start : start + size] += pixels / len(folds)
                presence[start : start + size] += probabilities / len(folds)
                start += size
        return maps, presence

    def _mean_presence(self, probabilities: Sequence[float]) -> float:
        """Return the weighted mean over the runs with a presence head; NaN without any."""
        total, weights = 0.0, 0.0
        for run, probability in zip(self.runs, probabilities, strict=True):
            if run.config.model.presence_head:
                total += run.weight * float(probability)
                weights += run.weight
        return total / weights if weights else float("nan")
