"""Predicts a fold's own images by the averaged weights; a stop request ends it."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from pneumo.distributed.collectives import Group
from pneumo.distributed.world import World
from pneumo.inference.build import build_predictor
from pneumo.inference.config import View
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.inference.prediction import PredictedBatch, split_batches
from pneumo.loading.contract import Loader
from pneumo.runtime.console import Progress
from pneumo.training.batch_norm import ESTIMATION_MICRO_BATCHES, estimate_statistics
from pneumo.training.epoch import Epoch
from pneumo.training.fold_data import FoldData
from pneumo.training.recipe import Recipe
from pneumo.training.stoppable import StoppableLoader
from pneumo.training.train_state import TrainState


class FoldValidation:
    """The predictions of a fold's own images.

    Args:
        recipe: What is trained.
        fold: Number of the fold.
        data: The fold's samples.
        loader: Loads them.
        train_state: Has the averaged weights.
        world: Device, and which rank shows progress.
        group: The ranks that train the fold together, which divide the images.
        stop_if_asked: Raises when a rank of the group was asked to stop; collective, called before each batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        fold: int,
        data: FoldData,
        loader: Loader,
        train_state: TrainState,
        *,
        world: World,
        group: Group,
        stop_if_asked: Callable[[], None],
    ) -> None:
        self.recipe, self.fold, self.data, self.loader, self.train_state = recipe, fold, data, loader, train_state
        self.world, self.group, self.stop_if_asked = world, group, stop_if_asked

    def estimate_statistics(self, epoch: Epoch) -> None:
        """Estimate the batch-norm statistics of the averaged weights from the epoch's first images. Collective."""
        steps = min(epoch.steps, -(-ESTIMATION_MICRO_BATCHES // self.recipe.micro_batches))
        plans = (
            replace(plan, with_masks=False) for plan in epoch.plans(range(steps), self.train_state.micro_batch_indices)
        )
        loader = self._stoppable(steps * -(-self.recipe.micro_batches // self.group.size))
        estimate_statistics(
            self.train_state.averaged,
            (batch.image for batch in loader(plans)),
            steps * self.recipe.micro_batches,
            self.group,
            self.train_state.autocast,
        )

    def predict(
        self,
        size: int,
        tta: tuple[View, ...],
        observe: Callable[[PredictedBatch], None] = lambda _: None,
        *,
        network: nn.Module | None = None,
        what: str = "validation",
        min_component: float = 0.0,
    ) -> PredictionHistograms | None:
        """Predict the validation images. Collective.

        Args:
            size: Height and width of the network's input.
            tta: Views beside the image itself.
            observe: Called with each of this rank's batches, before its probabilities are known to be finite.
            network: Predicts instead of the averaged weights.
            what: Name of the work in the lines of its progress, behind the fold.
            min_component: Components smaller than this are removed from masks, in pixels of a 1024x1024 image.

        Returns:
            Their histograms on the group's leader, None on the others.
        """
        inference = replace(self.recipe.inference, size=size, tta=tta)
        predictor = build_predictor(inference, network or self.train_state.averaged, self.world.device)
        rows = self.data.validation_rows
        batches = split_batches(rows)
        loader = self._stoppable(-(-len(batches) // self.group.size))
        total = sum(map(len, batches[self.group.rank :: self.group.size]))
        with Progress(f"fold {self.fold} {what}", total, unit="images", enabled=self.world.is_leader) as progress:

            def seen(batch: PredictedBatch) -> None:
                observe(batch)
                progress.step(len(batch.rows))

            return predict_histograms(
                predictor, loader, self.data.reader, rows, self.group, seen, min_component=min_component
            )

    def _stoppable(self, rounds: int) -> StoppableLoader:
        return StoppableLoader(self.loader, rounds, self.stop_if_asked)
