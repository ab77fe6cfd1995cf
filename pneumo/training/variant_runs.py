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
from dataclasses import replace
from functools import partial

import torch

from pneumo.dataset.manifest import Manifest
from pneumo.distributed import heartbeat
from pneumo.distributed.device_memory import release_memory
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World
from pneumo.runtime import log_file
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.training import run_directory, run_start
from pneumo.training.compared_runs import ComparedRuns, check_out, describe_hardware
from pneumo.training.comparison_inputs import ComparisonInputs
from pneumo.training.comparison_progress import ComparisonProgress
from pneumo.training.cross_validation import train_folds
from pneumo.training.inputs import TrainingInputs
from pneumo.training.local_dataset import local_dataset
from pneumo.training.locking import exclusive_locks
from pneumo.training.run_directory import RunDirectory
from pneumo.training.shared_training import predict_again
from pneumo.training.variant_checks import check_recipes, check_runs
from pneumo.training.variants import Variant


def compare(inputs: ComparisonInputs, world: World, stop: StopFlag) -> None:
    """Train what is not trained yet, and write the table after each variant. Collective.

    Raises:
        StopRequested: When the ranks agreed to stop; the same command goes on.
        UserError: When a variant, a run that is there or the dataset does not match.
        RankLost: When a rank that this one depends on is lost.
    """
    with Watchdog(world.meeting, world.rank_timeout_s) as watchdog:
        with stop.raising("the start"):
            check_recipes(inputs, world.device)
            world.on_leader(inputs.options.cache.check)
            world.on_leader(lambda: check_out(inputs.out))
            first_run = inputs.training(*inputs.planned[0]).run
            dataset = local_dataset(inputs.dataset, inputs.options.cache.directory, world, first_run)
            manifest = world.on_leader(lambda: Manifest.read(dataset))
            folds = tuple(sorted(inputs.folds)) or tuple(range(manifest.num_folds))
            inputs = replace(inputs, dataset=dataset, folds=folds)
            world.on_leader(partial(check_runs, inputs, manifest))
        lock = (inputs.out / run_directory.LOCK_FILE, f"--out {inputs.out}")
        with exclusive_locks([lock] if world.is_leader else [], world):
            log_file.start(inputs.out, "compare", f"rank-{world.rank}")
            _train_and_score(inputs, manifest, world, stop, watchdog)


def _train_and_score(
    inputs: ComparisonInputs, manifest: Manifest, world: World, stop: StopFlag, watchdog: Watchdog
) -> None:
    """Go through the variants; one that fails does not cost those behind it, unless all are compared with it."""
    planned = inputs.planned
    finished = world.on_leader(lambda: [_find_finished(inputs.training(*each)) is not None for each in planned])
    progress = ComparisonProgress(inputs, finished)
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
