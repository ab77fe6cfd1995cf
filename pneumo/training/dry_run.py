"""What a training would do, and the time and memory that it would take: ``job/train.py --dry-run``. Writes nothing.

The counts are exact, but for images that a teacher is still to label: it is sure of fewer than are counted. Time and
memory are those of a few real steps on this rank's device, with real images: as many micro-batches in a step as a rank
of the first group will have. What ranks exchange is counted as free. Of a run that is resumed, the folds that are
finished are left out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed import heartbeat
from pneumo.distributed.device import describe
from pneumo.distributed.device_memory import explain_out_of_memory
from pneumo.distributed.partition import WavePlan, busiest_share, plan_waves
from pneumo.distributed.startup import plan_folds
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World, describe_ranks, describe_units
from pneumo.loading.cache_layout import CacheLayout
from pneumo.loading.cache_plan import CacheOptions, CachePlan, plan_stages
from pneumo.loading.device_cache import FREE_SHARE
from pneumo.runtime.console import format_duration, format_rate
from pneumo.runtime.errors import counted
from pneumo.training import checkpoint_directory, run_start
from pneumo.training.fold_data import FoldData
from pneumo.training.inputs import TrainingInputs, check_expected, check_folds, check_unlabeled, less_memory
from pneumo.training.local_dataset import DryRunDataset, plan_local_dataset
from pneumo.training.plan import StagePlan, plan_fold, submission_seconds, training_seconds
from pneumo.training.recipe import Recipe
from pneumo.training.resolution import resolve_auto
from pneumo.training.run_directory import DatasetIdentity, RunDirectory
from pneumo.training.step_cost import STEPS, Measured, measure
from pneumo.training.teacher import open_teacher

GIB = 2**30


def dry_run(inputs: TrainingInputs, world: World, ranks: int) -> None:
    """Print the plan of a training; rank 0 alone measures. Collective.

    Args:
        inputs: What would be trained.
        world: The ranks that were started.
        ranks: How many to plan for: those that were started, or, for one that was, any number.

    Raises:
        UserError: When the training would be refused at its start, or has too little memory.
        RankLost: When another rank is lost.
    """
    with Watchdog(world.meeting, world.rank_timeout_s):
        _print_plan(inputs, world, ranks)


def _print_plan(inputs: TrainingInputs, world: World, ranks: int) -> None:
    cache = inputs.options.cache
    dataset = world.on_leader(lambda: plan_local_dataset(inputs.dataset, cache.directory, inputs.run))
    manifest = world.on_leader(lambda: Manifest.read(dataset.path))
    run = world.on_leader(lambda: _find_run(inputs, dataset.path, manifest))
    finished = world.on_leader(lambda: _finished_folds(run))
    wanted, micro_batches = inputs.folds or range(manifest.num_folds), inputs.recipe.micro_batches
    waves = (
        plan_folds(world, wanted, micro_batches) if ranks == world.size else plan_waves(ranks, wanted, micro_batches)
    )
    waves = waves.without(finished)
    if world.is_leader:
        sys.stdout.write("\n".join(_describe(inputs, dataset, manifest, run, waves, world)) + "\n")
    world.barrier()


def _find_run(inputs: TrainingInputs, dataset: Path, manifest: Manifest) -> RunDirectory | None:
    """Return the run that would be resumed, if any; refuse what training would refuse, its teacher too."""
    run = run_start.find(inputs.run, inputs.recipe, DatasetIdentity.of(manifest, {}))
    taught_by = ""
    if inputs.teacher is not None:
        excluded = {} if run is None else run.dataset.all_excluded
        table = SampleTable.read(dataset).exclude(excluded)
        taught_by = open_teacher(inputs.teacher, table, manifest.num_folds, excluded).sha256
    if run is not None:
        run_start.compare_teacher(run, taught_by)
    return run


def _finished_folds(run: RunDirectory | None) -> list[int]:
    return [] if run is None else [k for k in range(run.dataset.num_folds) if run.fold(k).is_finished]


def _describe(
    inputs: TrainingInputs,
    dataset: DryRunDataset,
    manifest: Manifest,
    run: RunDirectory | None,
    waves: WavePlan,
    world: World,
) -> Iterator[str]:
    table = SampleTable.read(dataset.path)
    check_expected(inputs.expected, table)
    heartbeat.touch("a few steps of the dry run")
    folds = check_folds(inputs.folds, manifest, table)
    recipe = resolve_auto(inputs.recipe, world.device) if run is None else run.recipe
    if run is not None:
        table = table.exclude(run.dataset.all_excluded)
    check_unlabeled(recipe, table, folds)
    plans = [plan_fold(recipe, table, fold, manifest.num_folds) for fold in folds]
    first_group = waves.waves[0][0].ranks if waves.waves else range(1)
    with explain_out_of_memory(*less_memory(recipe)):
        measured = measure(
            recipe,
            FoldData.of(ShardReader(dataset.path, table), folds[0], manifest.num_folds),
            world.device,
            workers=inputs.options.workers,
            micro_batches=busiest_share(recipe.micro_batches, len(first_group)),
            unlabeled=_busiest_unlabeled(recipe, len(first_group)),
            keep_decoded=inputs.options.cache.share > 0,
            images_at_once=inputs.options.images_at_once,
        )
    yield f"run        {inputs.run}: {_describe_run(run)}"
    tests = len(table.select("test"))
    yield f"data       {dataset.name}: {counted(manifest.train, 'labeled image')}, {counted(tests, 'test image')}"
    if dataset.words:
        yield f"copy       {dataset.words}"
    yield from _describe_world(waves, recipe, world)
    for one in plans:
        yield (
            f"fold {one.fold:<5} {counted(one.training_images, 'training image')},"
            f"{f' at most {one.pseudo_images} pseudo-labeled,' if one.pseudo_images else ''}"
            f"{f' {one.unlabeled_images} unlabeled,' if one.unlabeled_images else ''}"
            f" {counted(one.validation_images, 'validation image')}, {counted(one.steps, 'step')}"
        )
    for stage, cost in zip(plans[0].stages, measured.costs, strict=True):
        yield from _describe_stage(stage, recipe)
        rate = recipe.micro_batch_size / cost.micro_batch_s
        yield (
            f"           {cost.micro_batch_s:.3f} s for {counted(recipe.micro_batch_size, 'image')} on a rank"
            f"{_beside(recipe)}, {format_rate(rate, 'images')}, {cost.waiting:.0%} of it waiting for data;"
            f" {cost.prediction_s:.3f} s to predict one"
        )
    started = waves.ranks == world.size
    # Of ranks that were not started nobody knows how many machines they are on: one is the least memory for each.
    ranks = max(1, world.ranks_on_machine) if started else waves.ranks
    caches = _plan_caches(inputs.options.cache, recipe, table, ranks, reserved=dataset.copied)
    in_memory = 0 if inputs.options.cache.directory else max((plan.layout.bytes for plan in caches), default=0)
    yield from _describe_cost(waves, measured, recipe, in_memory)
    if inputs.options.cache.share == 0:
        yield "cache      decoded images are not kept: they are decoded in each epoch"
    else:
        yield from _describe_device_cache(recipe, table, world.device)
    for plan in caches:
        yield f"cache      {plan.describe()}{'' if started else f'; all {ranks} ranks on one machine'}"
    submission = submission_seconds(tests, manifest.num_folds, measured.costs, recipe, waves.ranks)
    training = training_seconds(plans, waves, measured.costs, recipe)
    yield (
        f"time       about {format_duration(training)} to train, {format_duration(submission)} for the test images;"
        f" from {STEPS} steps of each stage, without what ranks exchange and without early ends of stages"
    )


def _busiest_unlabeled(recipe: Recipe, ranks: int) -> int:
    """Return the micro-batches of unlabeled images of the rank that has the most of all kinds."""
    both = recipe.micro_batches + recipe.unlabeled_micro_batches
    return busiest_share(both, ranks) - busiest_share(recipe.micro_batches, ranks)


def _beside(recipe: Recipe) -> str:
    return " with the unlabeled ones beside them" if recipe.consistency.images else ""


def _plan_caches(
    options: CacheOptions, recipe: Recipe, table: SampleTable, ranks: int, *, reserved: int
) -> list[CachePlan]:
    """Plan what the OpenCV loader keeps."""
    if recipe.loader != "opencv" or options.share == 0:
        return []
    return plan_stages(table, [stage.image_size for stage in recipe.stages], options, ranks, reserved=reserved)


def _describe_run(run: RunDirectory | None) -> str:
    if run is None:
        return "new"
    states = []
    for fold in range(run.dataset.num_folds):
        directory = run.fold(fold)
        checkpoints = checkpoint_directory.published(directory.checkpoints)
        state = "finished" if directory.is_finished else checkpoints[-1].name if checkpoints else "not begun"
        states.append(f"fold {fold} {state}")
    return f"is resumed ({', '.join(states)})"


def _describe_world(waves: WavePlan, recipe: Recipe, world: World) -> Iterator[str]:
    kind = f"{describe(world.device)} in {recipe.precision}, loader {recipe.loader}"
    yield f"world      {counted(waves.ranks, 'rank')} on {kind}"
    for index, wave in enumerate(waves.waves):
        for ranks, folds in wave:
            share = busiest_share(recipe.micro_batches, len(ranks))
            yield (
                f"           {'then ' if index else ''}{describe_ranks(ranks)}: fold {', '.join(map(str, folds))};"
                f" {counted(share, 'micro-batch', 'micro-batches')} of {recipe.micro_batch_size} in a step"
            )
    if not waves.waves:
        yield "           nothing is left to train of the folds asked for"
        return
    yield f"           {describe_units(waves)}"
    idle = waves.idle_ranks
    if idle and waves.trained:
        yield f"           {counted(len(idle), 'rank')} of {waves.ranks} without a fold that is left"
    elif idle:
        yield (
            f"           {describe_ranks(range(idle[0], idle[-1] + 1))}: no fold, would shorten nothing; start"
            f" {counted(idle[0], 'rank')}, or give a smaller --micro-batch-size"
        )


def _describe_stage(stage: StagePlan, recipe: Recipe) -> Iterator[str]:
    first, last = stage.images[0], stage.images[-1]
    images = f"{first}" if first == last else f"{first} to {last}"
    rate = stage.stage.positive_rate
    positives = (
        "" if rate is None else f", positive rate {rate[0]:g}" + (f" to {rate[1]:g}" if rate[0] != rate[1] else "")
    )
    others = recipe.consistency.images
    unlabeled = f" and {counted(others, 'unlabeled image')}" if others else ""
    yield (
        f"stage {stage.stage.index + 1:<4} {counted(stage.stage.epochs, 'epoch')} at {stage.stage.image_size} px:"
        f" {images} images an epoch in steps of {recipe.batch_size}{unlabeled}{positives};"
        f" {counted(sum(stage.steps), 'step')}, {counted(stage.validations, 'validation')}"
    )


def _describe_cost(waves: WavePlan, measured: Measured, recipe: Recipe, decoded: int) -> Iterator[str]:
    """Say what a rank takes; ``decoded`` are the bytes of decoded images that it will keep in its memory."""
    memory = measured.memory
    on_device = (
        f"{memory.device / GIB:.1f} of {memory.device_total / GIB:.1f} GiB on the GPU, " if memory.device else ""
    )
    kept = f", {decoded / GIB:.2f} GiB of it decoded images" if decoded else ""
    yield f"memory     {on_device}{(memory.process + decoded) / GIB:.2f} GiB of the machine{kept}, for each rank"
    at_once = max(map(len, waves.waves), default=0)
    fold = measured.checkpoint_bytes * (checkpoint_directory.KEEP + 1)
    if recipe.best_checkpoints > 1:
        # Those that are not among the best any more go a little later.
        fold += measured.weights_bytes * (recipe.best_checkpoints + checkpoint_directory.KEEP)
    disk = fold * at_once
    yield f"disk       {disk / GIB:.2f} GiB of checkpoints at most, {counted(at_once, 'fold')} being trained at once"
    if recipe.best_checkpoints > 1:
        yield f"networks   {recipe.best_checkpoints} of each fold, whose predictions are averaged"
    if recipe.model.encoder_weights == "imagenet":
        yield f"weights    ImageNet weights of {recipe.model.encoder} are downloaded when the run is started"


def _describe_device_cache(recipe: Recipe, table: SampleTable, device: torch.device) -> Iterator[str]:
    """Say how much of the GPU decoded images take, where the loader keeps them there."""
    if device.type == "cuda" and recipe.loader == "dali":
        rows = table.select("train")
        if recipe.consistency.images:
            rows = np.concatenate([rows, table.select("unlabeled")])
        sizes = [CacheLayout.of(table, rows, stage.image_size).wanted_bytes for stage in recipe.stages]
        yield (
            f"cache      up to {max(sizes) / GIB:.2f} GiB of decoded images on each rank's GPU, while"
            f" {FREE_SHARE:.0%} of its memory stays free"
        )
