"""The mean of many networks for each image: over the runs of an ensemble, their folds, and their views.

No pixels are sent between ranks, and memory does not grow with the number of images, nor with their size::

    for each block of this rank's batches
        for each run
            for each fold: its network adds the mean of its views
        for each batch
            the runs' maps, their weights, and the mean presence probability

A block is one batch where all networks are on the device. Elsewhere it is several, since the weights of a fold are
loaded for each block. A few batches are decoded ahead meanwhile.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed import heartbeat
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.config import InferenceConfig
from pneumo.inference.fold_networks import FoldNetworks
from pneumo.inference.prediction import BATCH_SIZE, PredictedBatch, plan_batches, source_shapes
from pneumo.loading.contract import Batch
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


@dataclass(frozen=True, eq=False, kw_only=True)
class _RunMean:
    """One run's mean over folds and views for the N images of a batch."""

    maps: torch.Tensor
    """(N, S, S) float32 on the device."""
    presence: torch.Tensor
    """(N,) float64."""
    finite: torch.Tensor
    """() bool."""


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
        built = [build(run.config, reader, world.device, workers=workers) for run in runs]
        self.loaders = [loader for loader, _ in built]
        predictors, weights = [predictor for _, predictor in built], [run.weights for run in runs]
        self.networks = FoldNetworks(predictors, weights, world.device, world.ranks_on_machine)

    def predict(self, batches: Sequence[Rows], fold: int | None = None) -> Iterator[PredictedBatch]:
        """Yield the mean for each batch, in order; nobody waits for the device.

        Args:
            batches: Rows of the sample table.
            fold: Average the networks of this fold alone, which were not trained on its images; None = of all folds.

        Raises:
            UserError: When weights cannot be used.
        """
        yield from (
            mean for (mean,) in self._predict(batches, 1, lambda i, images: [self._predict_run(i, images, fold)])
        )

    def predict_folds(self, batches: Sequence[Rows]) -> Iterator[tuple[PredictedBatch, ...]]:
        """Yield for each batch the predictions of each fold's networks, and last that of all.

        They are those of ``predict``, with each network computed once.

        Args:
            batches: Rows of the sample table.

        Raises:
            UserError: When weights cannot be used.
        """
        (folds,) = {len(run.weights) for run in self.runs}

        def predict_run(index: int, images: Sequence[torch.Tensor]) -> list[list[_RunMean]]:
            of_folds = [self._predict_run(index, images, fold) for fold in range(folds)]
            return [*of_folds, [_average(of_batch) for of_batch in zip(*of_folds, strict=True)]]

        yield from self._predict(batches, folds + 1, predict_run)

    def _predict(
        self,
        batches: Sequence[Rows],
        count: int,
        predict_run: Callable[[int, Sequence[torch.Tensor]], Sequence[Sequence[_RunMean]]],
    ) -> Iterator[tuple[PredictedBatch, ...]]:
        """Yield for each batch the means over the runs of each of what ``predict_run`` returns, in order.

        Args:
            batches: Rows of the sample table.
            count: How many means ``predict_run`` returns of each batch.
            predict_run: Returns for the run at an index, and the images of each batch of a block, the means of each
                batch: they are joined with those of the other runs.
        """
        with ExitStack() as stack:
            # One stream of batches for each run, so that images are decoded while networks compute.
            streams = [
                stack.enter_context(closing(loader(plan_batches(batches, run.config.size))))  # type: ignore[type-var]
                for loader, run in zip(self.loaders, self.runs, strict=True)
            ]
            for block in self.blocks(batches, count):
                of_runs = [predict_run(i, _take(stream, len(block))) for i, stream in enumerate(streams)]
                means = [[each[i] for each in of_runs] for i in range(count)]
                for batch, rows in enumerate(block):
                    key = tuple(rows.tolist())
                    yield tuple(self._join(key, [of_run[batch] for of_run in mean]) for mean in means)
            for stream in streams:
                # Only at its end does a loader keep its pipeline for the next call.
                next(stream, None)

    def blocks(self, batches: Sequence[Rows], means: int = 1) -> Iterator[Sequence[Rows]]:
        """Divide batches into those that all networks predict before the next ones.

        Args:
            batches: Rows of the sample table.
            means: How many maps of each image are held for each run.
        """
        pixels = means * BATCH_SIZE * sum(run.config.size**2 for run in self.runs)
        length = 1 if self.networks.resident else max(1, min(BLOCK, BLOCK_PIXELS // pixels))
        for first in range(0, len(batches), length):
            yield batches[first : first + length]

    @torch.inference_mode()
    def _predict_run(self, index: int, images: Sequence[torch.Tensor], fold: int | None) -> list[_RunMean]:
        """Return one run's mean over folds and views for each batch of images (N, 1, S, S)."""
        run, device = self.runs[index], self.world.device
        folds = run.weights if fold is None else run.weights[fold : fold + 1]
        means = [
            _RunMean(
                maps=torch.zeros(len(batch), *batch.shape[-2:], device=device),
                presence=torch.zeros(len(batch), dtype=torch.float64, device=device),
                finite=torch.ones((), dtype=torch.bool, device=device),
            )
            for batch in images
        ]
        for weights in folds:
            predictor = self.networks.predictor(index, weights)
            for batch, mean in zip(images, means, strict=True):
                heartbeat.touch("predicting images")
                found = predictor(batch)
                mean.maps.add_(found.pixels / len(folds))
                mean.presence.add_(found.presence / len(folds))
                mean.finite.logical_and_(found.finite)
        return means

    @torch.inference_mode()
    def _join(self, rows: tuple[int, ...], of_runs: Sequence[_RunMean]) -> PredictedBatch:
        """Join the runs' means: the presence probability is the weighted one over the runs with a presence head."""
        heads = [
            (r.weight, m.presence) for r, m in zip(self.runs, of_runs, strict=True) if r.config.model.presence_head
        ]
        total, weights = torch.zeros_like(of_runs[0].presence), 0.0
        for weight, presence in heads:
            total, weights = total + weight * presence, weights + weight
        return PredictedBatch(
            rows=rows,
            shapes=source_shapes(self.reader.table, rows),
            maps=tuple(mean.maps for mean in of_runs),
            weights=tuple(run.weight for run in self.runs),
            presence=total / weights if weights else torch.full_like(total, torch.nan),
            finite=torch.stack([mean.finite for mean in of_runs]).all(),
        )


@torch.inference_mode()
def _average(folds: Sequence[_RunMean]) -> _RunMean:
    """Return the mean of several folds, to the bit as ``_predict_run`` adds it up."""
    mean = _RunMean(
        maps=torch.zeros_like(folds[0].maps),
        presence=torch.zeros_like(folds[0].presence),
        finite=torch.stack([fold.finite for fold in folds]).all(),
    )
    for fold in folds:
        mean.maps.add_(fold.maps / len(folds))
        mean.presence.add_(fold.presence / len(folds))
    return mean


def _take(stream: Iterator[Batch], length: int) -> list[torch.Tensor]:
    """Return the images of the next batches."""
    return [next(stream).image for _ in range(length)]
