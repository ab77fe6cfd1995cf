"""What an epoch of a fold consists of: the order of its samples, their micro-batches, and the learning rates.

All of it is a pure function of the recipe, the fold's seed and the epoch's number, so that a resumed run does the same
steps as one that was never interrupted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pneumo.dataset.table import Rows, SampleTable
from pneumo.loading import sampler
from pneumo.loading.contract import BatchPlan
from pneumo.training.recipe import Recipe, Stage
from pneumo.training.schedule import cosine_wave, learning_rate, plateau_rate

FIRST_UNLABELED = 1 << 32
"""Position of an epoch's first unlabeled image, behind all labeled ones: each has an augmentation of its own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Epoch:
    """One epoch of a stage."""

    recipe: Recipe
    stage: Stage
    index: int
    """Which epoch of its stage, from 0."""
    seed: int
    """Seed of the fold."""
    table: SampleTable
    rows: Rows
    """Rows of the table to train on."""
    scores: tuple[float, ...] = ()
    """Validation scores of the stage so far."""
    pseudo_rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows with a pseudo-label, of which the epoch has a share."""
    unlabeled_rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows of unlabeled images, of which each step has some (``consistency``)."""

    @property
    def number(self) -> int:
        """The epoch's number from 0 over all stages, as if none had ended early, which needs no history."""
        return sum(stage.epochs for stage in self.recipe.stages[: self.stage.index]) + self.index

    @property
    def is_last(self) -> bool:
        """Whether the stage has no epoch after this one."""
        return self.index + 1 == self.stage.epochs

    @property
    def is_validated(self) -> bool:
        """Whether the recipe asks for a validation at the end."""
        return self.is_last or (self.index + 1) % self.recipe.validate_every == 0

    @property
    def is_averaged(self) -> bool:
        """Whether the weights at its end are part of the stage's stochastic weight averaging."""
        return self.index >= self.stage.epochs - self.recipe.swa_epochs

    @cached_property
    def order(self) -> Rows:
        """The samples in their order, as indices into ``rows`` and, behind these, ``pseudo_rows``."""
        order = self._draw(self.rows, sampler.STREAM)
        if not len(self.pseudo_rows):
            return order
        extra = len(self.rows) + self._draw(self.pseudo_rows, sampler.EXTRA_STREAM)
        share = self.recipe.pseudo_labels.share
        return sampler.mix(order, extra, seed=self.seed, epoch=self.number, share=share)

    def _draw(self, rows: Rows, stream: int) -> Rows:
        return sampler.epoch_order(
            self.table.positive[rows],
            seed=self.seed,
            epoch=self.number,
            positive_rate=self.stage.positive_rate_at(self.index),
            stream=stream,
        )

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return sampler.steps(len(self.order), self.recipe.batch_size)

    @cached_property
    def unlabeled_order(self) -> Rows:
        """Rows of the unlabeled images of all steps in turn; which these are does not depend on the labeled ones."""
        length = self.steps * self.recipe.consistency.images
        order = sampler.repeated_order(len(self.unlabeled_rows), length, seed=self.seed, epoch=self.number)
        return self.unlabeled_rows[order]

    def epochs_done(self, step: int) -> float:
        """Return the epochs over all stages until the middle of a step of this one, from 0."""
        return self.number + (step + 0.5) / self.steps

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the epoch, from 0."""
        peak, final_factor = self.stage.learning_rate, self.recipe.final_lr_factor
        if self.stage.schedule == "plateau":
            peak, final_factor = plateau_rate(self.scores, peak=peak, plateau=self.recipe.plateau), 1.0
        elif falling := self.recipe.cosine_epochs:
            peak = cosine_wave(self.index, peak=peak, falling_epochs=falling, final_factor=final_factor)
            final_factor = 1.0
        return learning_rate(
            self.index + (step + 0.5) / self.steps,
            self.stage.epochs,
            peak=peak,
            warmup_epochs=self.recipe.warmup_epochs,
            final_factor=final_factor,
        )

    def plans(self, steps: range, micro_batches: range, unlabeled: range = range(0)) -> Iterator[BatchPlan]:
        """Yield the plans of some of each step's micro-batches, those of labeled images first.

        Args:
            steps: Which steps of the epoch, from 0.
            micro_batches: Which micro-batches of a step: those of this rank.
            unlabeled: Which of its micro-batches of unlabeled images.
        """
        batch, micro_batch = self.recipe.batch_size, self.recipe.micro_batch_size
        in_order = np.concatenate([self.rows, self.pseudo_rows])[self.order]
        for step in steps:
            slices = sampler.step_slice(in_order, step, batch, micro_batch)
            for positions in (slices[index] for index in micro_batches):
                yield self._plan(in_order[positions % len(in_order)], positions)
            for index in unlabeled:
                first = step * self.recipe.consistency.images + index * micro_batch
                rows = self.unlabeled_order[first : first + micro_batch]
                yield self._plan(rows, FIRST_UNLABELED + first + np.arange(micro_batch), with_masks=False)

    def _plan(self, rows: Rows, positions: Rows, *, with_masks: bool = True) -> BatchPlan:
        return BatchPlan(
            rows=rows,
            epoch=self.number,
            positions=positions,
            size=self.stage.image_size,
            crop_size=self.stage.crop_size,
            augmentation=self.recipe.augmentation,
            seed=self.seed,
            with_masks=with_masks,
        )
