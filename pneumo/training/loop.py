"""Training of one fold: stages, epochs, steps, validation, checkpoints, and resuming from a checkpoint.

The next step is given by three numbers (stage, epoch, step in the epoch). The order of samples, their augmentation,
dropout and the learning rate are pure functions of them, so that a resumed run does the same steps as one that was
never interrupted.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Interval

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.inference.build import build_predictor
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import validation_metrics
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.inference.predictor import Predictor, View
from pneumo.loading import sampler
from pneumo.loading.build import build_loader
from pneumo.loading.contract import BatchPlan
from pneumo.modeling.losses.loss import SUMS
from pneumo.reporting.tensorboard import FoldCurves
from pneumo.runtime import config
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import Progress, log
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import checkpoint
from pneumo.training.recipe import Recipe, Stage
from pneumo.training.run_directory import FoldDirectory
from pneumo.training.schedule import learning_rate
from pneumo.training.train_state import TrainState

LOG_EVERY = 10
"""Steps between two points of the loss curves; the loss is also checked to be finite then."""

Rows = npt.NDArray[np.int64]
Count = Annotated[int, Interval(ge=0, le=2**53)]


@config_dataclass(frozen=False)
class Cursor:
    """The next step; ``stage`` equals the number of stages when training is over."""

    stage: Count = 0
    epoch: Count = 0
    step: Count = 0


@config_dataclass(frozen=False)
class LoopState:
    """Results of a fold so far, which checkpoints contain."""

    history: list[dict[str, int | float]] = field(default_factory=list)
    """One entry for each epoch, as in fold.json: losses, images per second, validation metrics."""
    best_score: float = -1.0
    """Best validation score of the current stage."""
    validations_without_improvement: int = 0
    """Validations since the best one."""
    loss_sums: dict[str, float] = field(default_factory=dict)
    """Sums of the total loss and of its terms over the images of the epoch so far, by name."""


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """The samples of one fold."""

    table: SampleTable
    reader: ShardReader
    train_rows: Rows
    """Rows of the table to train on."""
    validation_rows: Rows
    """Rows of the fold's own images."""


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options that do not change the result."""

    checkpoint_every: int
    """Optimizer steps between two checkpoints within an epoch; 0 = only at the end of epochs."""
    workers: int
    """Threads of the loader."""


class FoldTrainer:
    """Trains one fold on one fold group, resuming from the fold's last checkpoint.

    Args:
        recipe: What to train.
        fold: Number of the fold, whose images are for validation.
        data: The fold's samples.
        world: Precision, device, and which rank shows progress.
        group: The ranks that train this fold together.
        directory: Where the fold's files are written.
        stop: Set when the process was asked to stop.
        options: Options that do not change the result.
    """

    def __init__(
        self,
        recipe: Recipe,
        fold: int,
        data: FoldData,
        *,
        world: World,
        group: Group,
        directory: FoldDirectory,
        stop: StopFlag,
        options: LoopOptions,
    ) -> None:
        self.recipe, self.fold, self.data = recipe, fold, data
        self.world, self.group, self.directory, self.stop, self.options = world, group, directory, stop, options
        self.seed = int(np.random.SeedSequence([recipe.seed, fold]).generate_state(1)[0])
        self.loader = build_loader(
            recipe.loader,
            data.reader,
            data.table,
            world.device,
            workers=options.workers,
            augmentation=recipe.augmentation,
        )
        self.train_state = TrainState(recipe, self.seed, world, group)
        self.cursor, self.loop_state, self.global_step = Cursor(), LoopState(), 0
        self.loss_sums = torch.zeros(len(SUMS), device=world.device)

    def run(self) -> None:
        """Train the fold to its end, and write its model and its out-of-fold histograms.

        Raises:
            StopRequested: When the group agreed to stop; the state is saved.
            UserError: When the loss is not finite any more, or the last checkpoint is not one of this run.
        """
        self._resume()
        with FoldCurves(self.directory.path, self.global_step, enabled=self.group.is_leader) as self.curves:
            for stage in self.recipe.stages[self.cursor.stage :]:
                for epoch in range(self.cursor.epoch, stage.epochs):
                    self._train_epoch(stage, epoch)
                    over = self._finish_epoch(stage, epoch)
                    self._save()
                    if over:
                        break
        self._publish()

    def _train_epoch(self, stage: Stage, epoch: int) -> None:
        order = self._order(stage, epoch)
        steps = sampler.steps(len(order), self.recipe.batch_size)
        first = self.cursor.step
        loaded = self.loader(self._plans(stage, epoch, order, range(first, steps)))
        what = f"fold {self.fold} epoch {self._nominal_epoch(stage, epoch) + 1}"
        self._epoch_start, self._epoch_images = time.monotonic(), 0
        with Progress(what, steps, done=first, unit="steps", enabled=self.world.is_leader) as progress:
            for step in range(first, steps):
                heartbeat.touch(f"{what} step {step + 1} of {steps}: loading")
                micro_batches = [next(loaded) for _ in self.train_state.micro_batch_indices]
                heartbeat.touch(f"{what} step {step + 1} of {steps}")
                rate = self._learning_rate(stage, epoch + (step + 0.5) / steps)
                self.loss_sums += self.train_state.step(micro_batches, self.global_step, rate)
                self.global_step += 1
                self.cursor.step = step + 1
                self._epoch_images += self.recipe.batch_size
                progress.step(note=self._log_step(rate))
                self._save_or_stop(within_epoch=step + 1 < steps)

    def _finish_epoch(self, stage: Stage, epoch: int) -> bool:
        """Validate, log, and move the cursor to the next epoch; return True when the stage is over."""
        entry = self._train_metrics(stage, epoch)
        last = epoch + 1 == stage.epochs
        stop_early = False
        if last or (epoch + 1) % self.recipe.validate_every == 0:
            entry |= self._validate(stage)
            stop_early = self._update_early_stopping(entry["val/dice_best_rule"])
        self.loop_state.history.append(entry)
        self.curves.add(self.global_step, entry)
        self._log_epoch(entry, stop_early)
        self.loss_sums.zero_()
        if last or stop_early:
            self._end_stage(stage)
            return True
        self.cursor = Cursor(stage=stage.index, epoch=epoch + 1)
        return False

    def _end_stage(self, stage: Stage) -> None:
        self.train_state.start_next_stage()
        self.loop_state.best_score, self.loop_state.validations_without_improvement = -1.0, 0
        self.cursor = Cursor(stage=stage.index + 1)

    # -- what an epoch consists of: pure functions of the cursor ----------------------------------------------------

    def _nominal_epoch(self, stage: Stage, epoch: int) -> int:
        """Return the epoch's index over all stages as if none had ended early, which needs no history."""
        return sum(s.epochs for s in self.recipe.stages[: stage.index]) + epoch

    def _order(self, stage: Stage, epoch: int) -> Rows:
        """Return the epoch's samples as indices into the fold's training rows."""
        return sampler.epoch_order(
            self.data.table.positive[self.data.train_rows],
            seed=self.seed,
            epoch=self._nominal_epoch(stage, epoch),
            positive_rate=stage.rate_at(epoch),
        )

    def _plans(self, stage: Stage, epoch: int, order: Rows, steps: range) -> Iterator[BatchPlan]:
        """Yield this rank's micro-batches of the given steps."""
        for step in steps:
            slices = sampler.step_slice(order, step, self.recipe.batch_size, self.recipe.micro_batch_size)
            for index in self.train_state.micro_batch_indices:
                positions = slices[index]
                yield BatchPlan(
                    rows=self.data.train_rows[order[positions % len(order)]],
                    epoch=self._nominal_epoch(stage, epoch),
                    positions=positions,
                    size=stage.image_size,
                    augmentation=self.recipe.augmentation,
                    seed=self.seed,
                )

    def _learning_rate(self, stage: Stage, done: float) -> float:
        return learning_rate(
            done,
            stage.epochs,
            peak=stage.learning_rate,
            warmup_epochs=self.recipe.warmup_epochs,
            final_factor=self.recipe.final_lr_factor,
        )

    # -- losses and metrics -----------------------------------------------------------------------------------------

    def _log_step(self, rate: float) -> str:
        """Log and check the loss every ``LOG_EVERY`` steps; return a note for the progress line. Collective."""
        if self.global_step % LOG_EVERY:
            return ""
        means = self._loss_means()
        self.curves.add(self.global_step, {f"train/{n}": v for n, v in means.items()} | {"train/lr": rate})
        return f"loss {means['total']:.4f}"

    def _loss_totals(self) -> torch.Tensor:
        """Return the sums of the losses over the images of the epoch so far, of all ranks. Collective.

        Raises:
            UserError: When one of them is not finite.
        """
        total = self.group.all_reduce_sum_(self.loss_sums.clone())
        if not bool(torch.isfinite(total).all()):
            raise UserError(
                f"the loss of fold {self.fold} is not finite at step {self.global_step}",
                "a finite loss",
                "lower --learning-rate or set --precision fp32, in a new --run; no checkpoint has this loss",
            )
        return total

    def _loss_means(self) -> dict[str, float]:
        """Return the means of the losses over the images of the epoch so far, by name. Collective."""
        count = max(self.cursor.step, 1) * self.recipe.batch_size
        return dict(zip(SUMS, (self._loss_totals() / count).tolist(), strict=True))

    def _train_metrics(self, stage: Stage, epoch: int) -> dict[str, float]:
        means = {f"train/{name}": value for name, value in self._loss_means().items()}
        return {
            "epoch": self._nominal_epoch(stage, epoch) + 1,
            "stage": stage.index,
            "step": self.global_step,
            **means,
            "images_per_s": self._epoch_images / max(time.monotonic() - self._epoch_start, 1e-9),
        }

    def _update_early_stopping(self, score: float) -> bool:
        """Compare a validation score with the stage's best; return True when the stage should end early."""
        if score > self.loop_state.best_score:
            self.loop_state.best_score, self.loop_state.validations_without_improvement = score, 0
            if self.recipe.keep == "best":
                self.train_state.snapshot_best()
        else:
            self.loop_state.validations_without_improvement += 1
        return 0 < self.recipe.patience <= self.loop_state.validations_without_improvement

    def _log_epoch(self, entry: dict[str, float], stop_early: bool) -> None:
        if self.group.is_leader:
            metrics = ", ".join(f"{k.removeprefix('val/')} {v:.4f}" for k, v in entry.items() if k.startswith("val/"))
            log.info(
                "fold %d epoch %d: train loss %.4f%s, %.1f images/s%s",
                self.fold,
                entry["epoch"],
                entry["train/total"],
                f"; validation: {metrics}" if metrics else "",
                entry["images_per_s"],
                "; the stage ends early" if stop_early else "",
            )

    # -- validation and results -------------------------------------------------------------------------------------

    def _predictor(self, size: int, tta: tuple[View, ...]) -> Predictor:
        inference = replace(self.recipe.inference, size=size, tta=tta)
        return build_predictor(inference, self.train_state.ema.module(), self.world.device)

    def _predict_histograms(self, predictor: Predictor) -> PredictionHistograms | None:
        """Return the histograms of the fold's own images on the group's leader, None on the others. Collective."""
        return predict_histograms(predictor, self.loader, self.data.reader, self.data.validation_rows, self.group)

    def _validate(self, stage: Stage) -> dict[str, float]:
        """Score the averaged weights on the validation images, without test-time augmentation. Collective."""
        heartbeat.touch(f"fold {self.fold}: validating")
        histograms = self._predict_histograms(self._predictor(stage.image_size, ()))
        metrics = None if histograms is None else validation_metrics(histograms)
        return {f"val/{name}": value for name, value in (self.group.broadcast(metrics) or {}).items()}

    def _publish(self) -> None:
        """Write the fold's model, its histograms, and last fold.json, which marks it as finished. Collective."""
        heartbeat.touch(f"fold {self.fold}: predicting its images")
        predictor = self._predictor(self.recipe.stages[-1].image_size, self.recipe.tta)
        histograms = self._predict_histograms(predictor)
        if histograms is not None:
            self.directory.publish(predictor.network, histograms, self.loop_state.history)
            log.info("fold %d is finished: %s", self.fold, self.directory.path)
        self.group.barrier()

    # -- saving and resuming ----------------------------------------------------------------------------------------

    def _save_or_stop(self, *, within_epoch: bool) -> None:
        """Save when a checkpoint is due; save and raise when a rank of the group was asked to stop. Collective."""
        stopping = self.group.any_rank(bool(self.stop))
        every = self.options.checkpoint_every
        if stopping or (within_epoch and every > 0 and self.global_step % every == 0):
            self._save()
        if stopping:
            raise StopRequested(f"fold {self.fold} at step {self.global_step}, {self.stop.signal_name or 'by a peer'}")

    def _save(self) -> None:
        # Raises on a loss that is not finite: such a state must not replace a good checkpoint.
        self.loop_state.loss_sums = dict(zip(SUMS, self._loss_totals().tolist(), strict=True))
        heartbeat.touch(f"fold {self.fold}: saving step {self.global_step}")
        if self.group.is_leader:
            self.directory.require_run_directory()
            snapshot = checkpoint.Snapshot(
                step=self.global_step,
                epoch=len(self.loop_state.history),
                weights=self.train_state.weights(),
                optimizer=self.train_state.optimizer_state(),
                state={"cursor": asdict(self.cursor), "loop_state": asdict(self.loop_state)},
            )
            checkpoint.save(self.directory.checkpoints, snapshot)
        self.group.barrier()

    def _resume(self) -> None:
        """Restore the newest valid checkpoint, if there is one. Collective.

        Raises:
            UserError: When it is not a checkpoint of this run.
        """
        path = self.group.broadcast(checkpoint.latest(self.directory.checkpoints) if self.group.is_leader else None)
        if path is None:
            return
        snapshot = checkpoint.load(path)
        try:
            self.train_state.restore(snapshot)
            self.global_step = snapshot.step
            self.cursor = config.from_json(Cursor, snapshot.state.get("cursor"), "state.json: cursor")
            self.loop_state = config.from_json(LoopState, snapshot.state.get("loop_state"), "state.json: loop_state")
            absent = LoopState.__dataclass_fields__.keys() - snapshot.state["loop_state"].keys()
            if absent:
                raise ValueError(f"state.json: loop_state.{min(absent)} is missing")
            sums = _ordered_sums(self.loop_state.loss_sums)
            if self.group.is_leader:
                self.loss_sums += torch.tensor(sums, device=self.world.device)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, UserError) as error:
            raise checkpoint.incompatible(path, error) from error
        if self.group.is_leader:
            log.info("fold %d resumes from %s", self.fold, path.name)


def _ordered_sums(by_name: dict[str, float]) -> list[float]:
    """Return a checkpoint's sums of losses in the order of ``SUMS``.

    A term without a sum is newer than the checkpoint: its weight was 0, and so is its sum.

    Raises:
        ValueError: When there is a sum of a term that does not exist here, or none of the total.
    """
    if "total" not in by_name:
        raise ValueError("the sum of the total loss is missing")
    unknown = by_name.keys() - set(SUMS)
    if unknown:
        raise ValueError(f"this version of pneumo has no loss term {min(unknown)!r}")
    return [by_name.get(name, 0.0) for name in SUMS]
