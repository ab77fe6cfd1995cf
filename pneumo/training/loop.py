"""Training of one fold: stages, epochs, steps, validation, checkpoints, and resuming from a checkpoint."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.distributed.device_memory import measure_peak
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.inference.evaluation import validation_metrics
from pneumo.loading.build import build_loader
from pneumo.loading.cache_plan import CacheOptions
from pneumo.reporting.held_out_images import HeldOutImages
from pneumo.runtime.console import Progress, format_rate, log
from pneumo.runtime.errors import counted
from pneumo.runtime.machine import peak_memory
from pneumo.training import checkpoint
from pneumo.training.best_checkpoints import BestCheckpoints
from pneumo.training.checkpoint_writer import CheckpointWriter
from pneumo.training.consistency import ramp_up
from pneumo.training.epoch import Epoch
from pneumo.training.fold_data import FoldData
from pneumo.training.fold_log import FoldLog
from pneumo.training.fold_results import publish_fold
from pneumo.training.fold_saving import FoldSaving
from pneumo.training.fold_validation import FoldValidation
from pneumo.training.loop_state import SCORE, Cursor, LoopState
from pneumo.training.recipe import Recipe, Stage
from pneumo.training.resolution import check_first_weights
from pneumo.training.run_directory import FoldDirectory
from pneumo.training.save_clock import SaveClock
from pneumo.training.stage_clock import StageClock
from pneumo.training.step_sums import StepSums
from pneumo.training.step_times import StepTimes
from pneumo.training.train_state import TrainState

LOG_EVERY = 10
"""Steps between two points of the loss curves; losses and gradients are also checked to be finite then."""


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options that do not change the result."""

    checkpoint_minutes: float
    """Minutes between two checkpoints within an epoch; 0 = only at the end of epochs."""
    workers: int
    """Threads of the loader."""
    images_at_once: int = 0
    """Images in one forward pass of a training step; 0 = choose."""
    cache: CacheOptions = field(default_factory=CacheOptions)
    """Where decoded images are kept, and how many."""


class FoldTrainer:
    """Trains one fold on one fold group, resuming from the fold's last checkpoint.

    Args:
        recipe: What to train.
        fold: Number of the fold, whose images are for validation.
        data: The fold's samples.
        world: Device, and which rank shows progress.
        group: The ranks that train this fold together.
        directory: Where the fold's files are written.
        stop: Set when the process was asked to stop.
        options: Options that do not change the result.
        encoder_sha256: Digest that the encoder's first weights must have; empty when they are random.

    Raises:
        UserError: When the encoder's first weights are others.
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
        encoder_sha256: str = "",
    ) -> None:
        self.recipe, self.fold, self.data = recipe, fold, data
        self.world, self.group, self.directory, self.options = world, group, directory, options
        self.seed = int(np.random.SeedSequence([recipe.seed, fold]).generate_state(1)[0])
        self.loader = build_loader(
            recipe.loader,
            data.reader,
            world.device,
            workers=options.workers,
            augmentation=recipe.augmentation,
            keep_decoded=options.cache.share > 0,
        )
        # Before the network is built: with a checkpoint its encoder's first weights are not fetched again.
        self.checkpoint = group.broadcast(checkpoint.latest(directory.checkpoints) if group.is_leader else None)
        model = replace(recipe.model, encoder_weights="none") if self.checkpoint else recipe.model
        self.train_state = TrainState(replace(recipe, model=model), self.seed, world, group, options.images_at_once)
        if self.checkpoint is None:
            check_first_weights(self.train_state.model, recipe, encoder_sha256)
        self.state = LoopState(fold=fold)
        self.sums = StepSums(group, fold, recipe.batch_size, recipe.consistency.images)
        self.times = StepTimes(group, recipe.batch_size)
        self.writer = CheckpointWriter(directory, world.device)
        self.best = BestCheckpoints(directory.best, len(recipe.stages) - 1, recipe.best_checkpoints)
        self.saving = FoldSaving(
            lambda: f"fold {fold} at step {self.state.step}",
            self._take_snapshot,
            writer=self.writer,
            clock=SaveClock(options.checkpoint_minutes),
            group=group,
            stop=stop,
        )
        self.held_out = HeldOutImages(data.reader, data.validation_rows)
        self.validation = FoldValidation(
            recipe,
            fold,
            data,
            self.loader,
            self.train_state,
            world=world,
            group=group,
            stop_if_asked=self.saving.stop_if_asked,
        )

    def run(self) -> None:
        """Train the fold to its end, and write its model and its out-of-fold histograms.

        Raises:
            StopRequested: When the group agreed to stop; the state is saved.
            UserError: When the loss, the gradient or a weight is not finite any more, or the last checkpoint is not one
                of this run.
        """
        self._resume()
        if self.checkpoint is None and self.group.is_leader:
            images, own = counted(len(self.data.train_rows), "image"), len(self.data.validation_rows)
            log.info("fold %d begins: %s to train on, %d to score it", self.fold, images, own)
            if at_once := self.recipe.consistency.images:
                unlabeled = counted(len(self.data.unlabeled_rows), "unlabeled image")
                log.info("fold %d has %d of %s in each step", self.fold, at_once, unlabeled)
        enabled = self.group.is_leader
        with (
            FoldLog(self.directory, self.recipe, self.held_out, self._first_event(), enabled=enabled) as self.log,
            self.writer,
        ):
            for stage in self.recipe.stages[self.state.cursor.stage :]:
                self.clock = StageClock(stage, self.state.cursor.epoch)
                self._open_cache(stage.image_size)
                for index in range(self.state.cursor.epoch, stage.epochs):
                    epoch = self._epoch(stage, index)
                    speed = self._train_epoch(epoch)
                    if epoch.is_validated:
                        # A kill during the validation, which may take minutes, costs no step.
                        self.saving.save()
                    over = self._finish_epoch(epoch, speed)
                    self.saving.save()
                    if over:
                        break
            self._publish()

    def _open_cache(self, size: int) -> None:
        """Keep the images of a stage as they are decoded. Collective."""
        if self.data.caches is not None and self.loader.caches_on_host:
            # Freed before the next one is made.
            self.loader.cache = None
            self.loader.cache = self.data.caches.open(self.data.reader.table, size)

    def _epoch(self, stage: Stage, index: int) -> Epoch:
        scores = self.state.scores(stage.index)
        return Epoch(
            recipe=self.recipe,
            stage=stage,
            index=index,
            seed=self.seed,
            table=self.data.reader.table,
            rows=self.data.train_rows,
            pseudo_rows=self.data.pseudo_rows,
            unlabeled_rows=self.data.unlabeled_rows,
            scores=scores,
        )

    def _first_event(self) -> int:
        """Return the first step of which events are written; what an earlier start has written from it on is hidden."""
        cursor, step = self.state.cursor, self.state.step
        if step == 0:
            return 0
        # The events of a validation that is left to do have the step that the last checkpoint has.
        stages = self.recipe.stages[cursor.stage :]
        return step if stages and cursor.step == self._epoch(stages[0], cursor.epoch).steps else step + 1

    def _train_epoch(self, epoch: Epoch) -> dict[str, float]:
        """Do the epoch's steps from the cursor on; return how fast they were."""
        first, steps = self.state.cursor.step, epoch.steps
        self.times.begin_epoch()
        labeled, unlabeled = self.train_state.micro_batch_indices, self.train_state.unlabeled_indices
        loaded = self.loader(epoch.plans(range(first, steps), labeled, unlabeled))
        what = f"fold {self.fold} epoch {epoch.number + 1}"
        size, shows = self.recipe.batch_size, self.world.is_leader
        with Progress(what, steps * size, done=first * size, unit="images", enabled=shows) as progress:
            for step in range(first, steps):
                heartbeat.touch(f"{what} step {step + 1} of {steps}: loading")
                with self.times.waiting_for_data():
                    micro_batches = [next(loaded) for _ in labeled]
                    others = [next(loaded) for _ in unlabeled]
                heartbeat.touch(f"{what} step {step + 1} of {steps}")
                rate = epoch.learning_rate(step)
                ramp = ramp_up(epoch.epochs_done(step), self.recipe.consistency.ramp_up_epochs)
                with self.group.waiting_for_device():
                    result = self.train_state.step(micro_batches, self.state.step, rate, others, ramp)
                if epoch.is_averaged and step + 1 == steps:
                    self.train_state.add_to_swa()
                self.sums.add(result)
                self.times.add_step()
                self.state.step += 1
                if result.skipped and self.group.is_leader:
                    log.info("fold %d step %d overflowed fp16 and is skipped", self.fold, self.state.step)
                self.state.cursor.step = step + 1
                progress.step(size, note=self._log_step(rate))
                self.saving.save_or_stop(within_epoch=step + 1 < steps)
                if step == first and self.group.is_leader:
                    # Behind a step: the optimizer begins without moments.
                    self.writer.reserve(self._snapshot(with_best=self.recipe.keep == "best"))
            # Only at its end does a loader keep its pipeline for the next call.
            next(loaded, None)
        return self.times.epoch()

    def _finish_epoch(self, epoch: Epoch, speed: dict[str, float]) -> bool:
        """Validate, log, and move the cursor to the next epoch; return True when the stage is over."""
        entry = self._train_metrics(epoch) | speed
        stop_early = False
        if epoch.is_validated:
            entry |= self._validate(epoch)
            stop_early = self._update_early_stopping(entry[SCORE])
        entry |= self._measure_memory()
        self.state.history.append(entry)
        self.log.add_epoch(entry)
        if SCORE in entry and self.recipe.best_checkpoints > 1 and self.group.is_leader:
            self.best.update(self.state.history, self.train_state.averaged)
        self._log_epoch(entry, "the stage ends early" if stop_early else self.clock.describe_left(epoch.index))
        self.sums.reset()
        if epoch.is_last or stop_early:
            self.train_state.start_next_stage()
            self.state.start_stage(epoch.stage.index + 1)
            return True
        self.state.cursor = Cursor(stage=epoch.stage.index, epoch=epoch.index + 1)
        return False

    # -- losses and metrics -----------------------------------------------------------------------------------------

    def _log_step(self, rate: float) -> str:
        """Log and check the steps every ``LOG_EVERY`` of them; return a note for the progress line. Collective."""
        if self.state.step % LOG_EVERY:
            return ""
        means = self.sums.means_since_last(self.state.step)
        self.log.add_steps(self.state.step, means, self.times.since_last(), rate)
        return f"loss {means['total']:.4f}"

    def _train_metrics(self, epoch: Epoch) -> dict[str, int | float]:
        """Return the epoch's entry of the history, without its validation. Collective."""
        return {
            "epoch": epoch.number + 1,
            "stage": epoch.stage.index,
            "step": self.state.step,
            **{f"train/{name}": value for name, value in self.sums.means(self.state.step).items()},
        }

    def _measure_memory(self) -> dict[str, float]:
        """Return the most GiB of memory that a rank's process has had, and that one took of its GPU. Collective."""
        process, device = self.group.largest(peak_memory()), self.group.largest(measure_peak(self.world.device))
        return {"process_gib": process / 2**30} | ({"device_gib": device / 2**30} if device else {})

    def _update_early_stopping(self, score: float) -> bool:
        """Compare a validation score with the stage's best; return True when the stage should end early."""
        if self.state.add_score(score) and self.recipe.keep == "best":
            self.train_state.snapshot_best()
        return 0 < self.recipe.patience <= self.state.validations_without_improvement

    def _log_epoch(self, entry: dict[str, float], outlook: str) -> None:
        if self.group.is_leader:
            metrics = ", ".join(f"{k.removeprefix('val/')} {v:.4f}" for k, v in entry.items() if k.startswith("val/"))
            log.info(
                "fold %d epoch %d: train loss %.4f%s%s%s",
                self.fold,
                entry["epoch"],
                entry["train/total"],
                f"; validation: {metrics}" if metrics else "",
                f", {format_rate(entry['images_per_s'], 'images')}" if "images_per_s" in entry else "",
                f"; {outlook}" if outlook else "",
            )

    # -- validation and results -------------------------------------------------------------------------------------

    def _validate(self, epoch: Epoch) -> dict[str, float]:
        """Score the averaged weights on the validation images, without test-time augmentation. Collective."""
        heartbeat.touch(f"fold {self.fold}: validating")
        start = time.monotonic()
        self.validation.estimate_statistics(epoch)
        histograms = self.validation.predict(epoch.stage.image_size, (), self.held_out.observe)
        maps = self.group.gather(self.held_out.take())
        metrics = None
        if histograms is not None:
            metrics = validation_metrics(histograms)
            self.log.add_validation(
                self.state.step, histograms, {row: bins for part in maps for row, bins in part.items()}
            )
        scores = {f"val/{name}": value for name, value in (self.group.broadcast(metrics) or {}).items()}
        return scores | {"validation_s": time.monotonic() - start}

    def _publish(self) -> None:
        """Write the fold's model, its histograms, and last fold.json, which marks it as finished. Collective."""
        heartbeat.touch(f"fold {self.fold}: predicting its images")
        network = self.train_state.averaged
        if self.recipe.best_checkpoints > 1:
            network = self.best.load(self.state.history, self.train_state.ema.model)
        histograms = self.validation.predict(
            self.recipe.stages[-1].image_size,
            self.recipe.tta,
            network=network,
            what="out-of-fold",
            min_component=self.recipe.min_component,
        )
        if histograms is not None:
            # Before fold.json: a finished fold is left alone.
            self.log.finish(self.state.step, histograms)
            self.writer.wait()
            publish_fold(self.directory, network, histograms, self.state.history)
            self.directory.remove_checkpoints()
            log.info("fold %d is finished: %s", self.fold, self.directory.path)
        self.saving.finish()

    # -- saving and resuming ----------------------------------------------------------------------------------------

    def _take_snapshot(self) -> checkpoint.Snapshot | None:
        """Return on the leader what a checkpoint has now. Collective.

        Raises:
            UserError: When the loss, the gradient or a weight is not finite: such a state must not replace a good
                checkpoint.
        """
        self.state.step_sums = self.sums.totals(self.state.step)
        return self._snapshot() if self.group.is_leader else None

    def _snapshot(self, *, with_best: bool = False) -> checkpoint.Snapshot:
        """Return what a checkpoint has; ``with_best``, also a set of best weights where there is none yet."""
        weights = self.train_state.weights()
        if with_best:
            weights.setdefault("best", weights["ema"])
        return checkpoint.Snapshot(self.state, weights, self.train_state.optimizer_state())

    def _resume(self) -> None:
        """Restore the newest valid checkpoint, if there is one. Collective.

        Raises:
            UserError: When it is not a checkpoint of this run.
        """
        path = self.checkpoint
        if path is None:
            return
        snapshot = checkpoint.load(path)
        try:
            snapshot.state.check(self.fold, self.recipe.stages)
            self.train_state.restore(snapshot)
            self.sums.restore(snapshot.state.step_sums, self.recipe.loss)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise checkpoint.incompatible(path, error) from error
        self.state = snapshot.state
        if self.group.is_leader:
            log.info("fold %d resumes from %s", self.fold, path.name)
