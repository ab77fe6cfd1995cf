"""The runs of a comparison: the variants of a file, trained on the same folds with the same seeds, into one table.

::

    COMPARISON/
        comparison.json        scores, differences and what they were measured on   (after each variant)
        comparison.md          the table of it
        runs/NAME-seed-S/      an ordinary run of each variant and seed (``run_directory``), its folds alone
        logs/

All runs are trained by the same processes, one after another. One that is finished is only read; one that was
interrupted goes on from its last checkpoint. A variant that differs from an earlier one only in how the trained
networks predict has the networks of that one.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.distributed import heartbeat
from pneumo.distributed.device_memory import release_memory
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World
from pneumo.modeling import encoders
from pneumo.modeling.config import ModelConfig
from pneumo.runtime import log_file
from pneumo.runtime.console import format_seconds, log
from pneumo.runtime.errors import UserError
from pneumo.training import run_directory, run_start
from pneumo.training.compared_runs import ComparedRuns, check_out, describe_hardware
from pneumo.training.cross_validation import train_folds
from pneumo.training.inputs import TrainingInputs, check_unlabeled
from pneumo.training.local_dataset import local_dataset
from pneumo.training.locking import exclusive_locks
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.resolution import first_weights, resolve_auto
from pneumo.training.run_directory import DatasetIdentity, RunDirectory
from pneumo.training.shared_training import has_same_training, predict_again
from pneumo.training.teacher import open_teacher
from pneumo.training.variants import RUNS, Variant, refuse, run_name


@dataclass(frozen=True, kw_only=True)
class ComparisonInputs:
    """What a comparison is given."""

    variants: Sequence[Variant]
    seeds: Sequence[int]
    dataset: Path
    out: Path
    folds: tuple[int, ...]
    """Empty = all of the dataset's."""
    options: LoopOptions
    skip_damaged: bool

    @property
    def planned(self) -> list[tuple[Variant, int]]:
        """The variant and the seed of each run, in the order of training."""
        return [(variant, seed) for variant in self.variants for seed in self.seeds]

    def training(self, variant: Variant, seed: int) -> TrainingInputs:
        """Return what is trained for a run.

        Raises:
            UserError: When the options do not suit the variant.
        """
        return TrainingInputs(
            recipe=variant.seeded(seed),
            dataset=self.dataset,
            run=self.out / RUNS / run_name(variant.name, seed),
            folds=self.folds,
            expected=None,
            options=self.options,
            skip_damaged=self.skip_damaged,
            teacher=variant.teacher,
        )

    def source(self, variant: Variant, seed: int) -> TrainingInputs | None:
        """Return the training of an earlier variant whose networks are those of this one; None = its own."""
        for earlier in self.variants[: self.variants.index(variant)]:
            if earlier.teacher == variant.teacher and has_same_training(earlier.recipe, variant.recipe):
                return self.training(earlier, seed)
        return None


def compare(inputs: ComparisonInputs, world: World, stop: StopFlag) -> None:
    """Train what is not trained yet, and write the table after each variant. Collective.

    Raises:
        StopRequested: When the ranks agreed to stop; the same command goes on.
        UserError: When a variant, a run that is there or the dataset does not match.
        RankLost: When a rank that this one depends on is lost.
    """
    with Watchdog(world.meeting, world.rank_timeout_s) as watchdog:
        with stop.raising("the start"):
            _check_recipes(inputs, world.device)
            world.on_leader(inputs.options.cache.check)
            world.on_leader(lambda: check_out(inputs.out))
            first_run = inputs.training(*inputs.planned[0]).run
            dataset = local_dataset(inputs.dataset, inputs.options.cache.directory, world, first_run)
            manifest = world.on_leader(lambda: Manifest.read(dataset))
            folds = tuple(sorted(inputs.folds)) or tuple(range(manifest.num_folds))
            inputs = replace(inputs, dataset=dataset, folds=folds)
            world.on_leader(partial(_check_runs, inputs, manifest))
        lock = (inputs.out / run_directory.LOCK_FILE, f"--out {inputs.out}")
        with exclusive_locks([lock] if world.is_leader else [], world):
            log_file.start(inputs.out, "compare", f"rank-{world.rank}")
            _train_and_score(inputs, manifest, world, stop, watchdog)


def _check_recipes(inputs: ComparisonInputs, device: torch.device) -> None:
    """Refuse at once, before anything is read, all variants that cannot be trained on this device."""
    mistakes: list[UserError] = []
    for variant in inputs.variants:
        with _collecting(variant, mistakes):
            encoders.validate(variant.recipe.model.encoder)
            resolve_auto(variant.recipe, device)
            inputs.training(variant, inputs.seeds[0])
    refuse(mistakes)


def _check_runs(inputs: ComparisonInputs, manifest: Manifest) -> None:
    """Refuse at once, before hours of work, all variants whose runs are of something else, or cannot begin."""
    mistakes: list[UserError] = []
    known: set[ModelConfig] = set()
    for variant in inputs.variants:
        with _collecting(variant, mistakes):
            _check_run(inputs, variant, manifest, known)
    refuse(mistakes)


@contextmanager
def _collecting(variant: Variant, mistakes: list[UserError]) -> Iterator[None]:
    """Add the mistake that is found in a variant, if one is."""
    try:
        yield
    except UserError as error:
        # The directory of a run follows from the variant's name.
        action = error.action.replace("another --run", "the variant another name")
        mistakes.append(UserError(f"{variant.where}: {error.found}", error.expected, action))


def _check_run(inputs: ComparisonInputs, variant: Variant, manifest: Manifest, known: set[ModelConfig]) -> None:
    """Check the runs of a variant, its teacher, and the first weights of its networks, unless these are known."""
    identity, table = DatasetIdentity.of(manifest, {}), None
    if variant.recipe.consistency.images:
        table = SampleTable.read(inputs.dataset)
        check_unlabeled(variant.recipe, table, inputs.folds)
    is_new = False
    for training in (inputs.training(variant, seed) for seed in inputs.seeds):
        run, taught_by = run_start.find(training.run, training.recipe, identity), ""
        if training.teacher is not None:
            excluded = {} if run is None else run.dataset.all_excluded
            table = table or SampleTable.read(training.dataset)
            taught_by = open_teacher(training.teacher, table.exclude(excluded), manifest.num_folds, excluded).sha256
        if run is not None:
            run_start.compare_teacher(run, taught_by)
        is_new |= run is None
    if is_new and variant.recipe.model not in known:
        known.add(variant.recipe.model)
        first_weights(variant.recipe)


def _train_and_score(
    inputs: ComparisonInputs, manifest: Manifest, world: World, stop: StopFlag, watchdog: Watchdog
) -> None:
    """Go through the variants; one that fails does not cost those behind it, unless all are compared with it."""
    planned = inputs.planned
    finished = world.on_leader(lambda: [_find_finished(inputs.training(*each)) is not None for each in planned])
    progress = _Progress(inputs, finished)
    compared = ComparedRuns(inputs.out, inputs.folds, describe_hardware(world), manifest.train)
    missing = {variant.name: "" for variant in inputs.variants}
    is_current = False
    for number, (variant, seed) in enumerate(planned):
        if missing[variant.name]:
            continue
        if not finished[number]:
            if world.is_leader:
                progress.log(number)
            try:
                progress.add(variant.recipe, _train(inputs, variant, seed, world, stop, watchdog))
            except UserError as error:
                # Other ranks may not know of the error, and are lost without this one.
                if world.size > 1 or variant is inputs.variants[0]:
                    raise
                missing[variant.name] = str(error)
                log.error("variant %s failed: %s", variant.name, error)
                continue
        if seed == inputs.seeds[-1]:
            heartbeat.touch(f"scoring variant {variant.name}")
            del missing[variant.name]
            # While all runs that were read were there before, there is nothing new to see.
            is_current = not all(finished[: number + 1])
            with stop.raising("the table"):
                world.on_leader(partial(_score, inputs, variant, compared))
                if is_current:
                    world.on_leader(partial(compared.write, list(missing)))
    if not is_current:
        world.on_leader(partial(compared.write, list(missing)))
    if world.is_leader:
        compared.log_table()
    if missing:
        raise UserError(
            f"{', '.join(missing)} failed ({'; '.join(missing.values())})",
            "variants that can be trained",
            "correct or remove their lines; the same command then trains what is missing",
        )


def _train(
    inputs: ComparisonInputs, variant: Variant, seed: int, world: World, stop: StopFlag, watchdog: Watchdog
) -> float:
    """Train a run, and return the seconds that it took; 0 when it got the networks of an earlier one. Collective."""
    training, source = inputs.training(variant, seed), inputs.source(variant, seed)
    found = source and world.on_leader(lambda: _find_usable(training, source))
    if found:
        with stop.raising("the predictions"):
            predict_again(training, found, world)
        return 0.0
    begin = time.monotonic()
    try:
        train_folds(training, world, stop, watchdog)
    finally:
        # An error has left what it was about.
        release_memory()
        if variant.recipe.compile:
            # torch compiles a network of the same code only so many times.
            torch.compiler.reset()
    return time.monotonic() - begin


def _find_finished(training: TrainingInputs) -> RunDirectory | None:
    """Return a run whose folds are all trained."""
    if not (training.run / run_directory.RECIPE_FILE).is_file():
        return None
    run = run_directory.load(training.run)
    return run if all(run.fold(fold).is_finished for fold in training.folds) else None


def _find_usable(training: TrainingInputs, source: TrainingInputs) -> RunDirectory | None:
    """Return the earlier run, unless this one has begun to train by itself, as before there was the other."""
    begun = run_start.load_if_begun(training.run)
    is_trained = begun and any(any(begun.fold(fold).checkpoints.glob("step-*")) for fold in training.folds)
    return None if is_trained else _find_finished(source)


def _score(inputs: ComparisonInputs, variant: Variant, compared: ComparedRuns) -> None:
    runs = [run_directory.load(inputs.training(variant, seed).run) for seed in inputs.seeds]
    compared.add(variant.name, variant.flags, runs)


class _Progress:
    """Says which run begins, and how long those that are left will take by those that this process has trained.

    A run's time is taken as proportional to its epochs times the pixels of what its steps see of an image, and to the
    images of a step, unlabeled ones included, for each labeled one.
    """

    def __init__(self, inputs: ComparisonInputs, finished: Sequence[bool]) -> None:
        self._inputs, self._finished = inputs, finished
        self._work = self._seconds = 0.0

    def add(self, recipe: Recipe, seconds: float) -> None:
        """Count a run; one of 0 seconds was not trained."""
        if seconds:
            self._work, self._seconds = self._work + _work(recipe), self._seconds + seconds

    def log(self, number: int) -> None:
        """Log the beginning of a run."""
        planned, variants = self._inputs.planned, self._inputs.variants
        variant, seed = planned[number]
        left = [each for each, done in zip(planned[number:], self._finished[number:], strict=True) if not done]
        seconds = sum(_work(v.recipe) for v, s in left if self._inputs.source(v, s) is None) * self._seconds
        outlook = f"; about {format_seconds(seconds / self._work)} left, by the runs so far" if self._work else ""
        place = variants.index(variant) + 1, len(variants)
        text = "run %d of %d: variant %s (%d of %d), seed %d%s"
        log.info(text, number + 1, len(planned), variant.name, *place, seed, outlook)


def _work(recipe: Recipe) -> float:
    images = 1 + recipe.consistency.images / recipe.batch_size
    return images * sum(stage.epochs * (stage.crop_size or stage.image_size) ** 2 for stage in recipe.stages)
