"""A run from its recipe to its submission, on any number of ranks: what job/train.py starts."""

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dataset.url import url
from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.distributed.device_memory import explain_out_of_memory, release_memory
from pneumo.distributed.partition import WavePlan
from pneumo.distributed.startup import connect, make_fold_groups, plan_folds, release
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World, log_idle_ranks, log_world
from pneumo.inference import metrics
from pneumo.inference.ensembler import Ensembler
from pneumo.inference.submit import write_submission
from pneumo.inference.verdict import warn_unless_better
from pneumo.loading.cache_plan import CacheKeeper
from pneumo.runtime import log_file
from pneumo.runtime.console import log
from pneumo.training import run_start
from pneumo.training.blended_rule import choose_rule
from pneumo.training.ensemble import LESS_MEMORY, build_mean
from pneumo.training.excluded import exclusion_caveats, resolve_excluded
from pneumo.training.fold_data import FoldData
from pneumo.training.inputs import TrainingInputs, check_expected, check_folds, check_unlabeled, less_memory
from pneumo.training.local_dataset import local_dataset
from pneumo.training.locking import exclusive_locks
from pneumo.training.loop import FoldTrainer
from pneumo.training.recipe import Recipe
from pneumo.training.resolution import first_weights, resolve_auto
from pneumo.training.run_directory import DatasetIdentity, RunDirectory
from pneumo.training.run_metrics import finish_run
from pneumo.training.teacher import Teacher, open_teacher

SLOW_ON_CPU = 512
"""Height and width of the network's input, in pixels, from which training on a CPU is warned of."""


def train(inputs: TrainingInputs, world: World, stop: StopFlag) -> None:
    """Train the unfinished folds; when all folds were asked for, write the metrics and the submission too.

    Raises:
        StopRequested: When the ranks agreed to stop; the same command resumes.
        UserError: When the dataset, the run and the folds do not match, or another process trains one of the folds.
        RankLost: When a rank that this one depends on is lost.
    """
    with Watchdog(world.meeting, world.rank_timeout_s) as watchdog:
        run, reader = train_folds(inputs, world, stop, watchdog)
        if inputs.folds:
            _log_remaining_folds(run, world, reader, inputs)
            return
        # Nothing of what follows is saved in between: when a signal interrupts it, the next start repeats it.
        with stop.raising("the metrics and the submission"):
            _finish(run, world, reader, inputs)


def train_folds(
    inputs: TrainingInputs, world: World, stop: StopFlag, watchdog: Watchdog
) -> tuple[RunDirectory, ShardReader]:
    """Train the unfinished folds and nothing else; return the run, and the dataset without its excluded images.

    Raises:
        As ``train``.
    """
    with explain_out_of_memory(*less_memory(inputs.recipe)):
        with stop.raising("the start"):
            world.on_leader(inputs.options.cache.check)
            dataset = local_dataset(inputs.dataset, inputs.options.cache.directory, world, inputs.run)
            manifest = world.on_leader(lambda: Manifest.read(dataset))
            # Before the table and the images are read.
            wanted = inputs.folds or range(manifest.num_folds)
            plan = plan_folds(world, wanted, inputs.recipe.micro_batches)
            log_idle_ranks(world, plan)
            run, reader, folds, teacher = open_run(inputs, dataset, manifest, world)
            log_file.start(run.path, "train", f"rank-{world.rank}")
        finished = world.on_leader(lambda: [fold for fold in folds if run.fold(fold).is_finished])
        plan = plan.without(finished)
        log_world(world, plan, run.recipe.precision)
        if plan.waves and world.is_leader:
            warn_if_slow(run.recipe, world.device)
            if not len(reader.table.select("test")):
                log.info("%s has no test images: the run will have metrics and no submission", reader.dataset)
        _train_waves(inputs, run, reader, teacher, plan, finished, world=world, stop=stop, watchdog=watchdog)
        # A fold group waits here for the others, which may take days; the watchdog ends the wait when one is lost.
        heartbeat.touch("waiting for the other folds")
        watchdog.depend_on(range(world.size))
        with stop.raising("the wait for the other folds"):
            world.barrier()
    return run, reader


def warn_if_slow(recipe: Recipe, device: torch.device) -> None:
    """Warn of a recipe for GPUs on a CPU, where it may take weeks."""
    size = max(stage.crop_size or stage.image_size for stage in recipe.stages)
    if device.type == "cpu" and size >= SLOW_ON_CPU:
        text = "%d px take very long on a CPU, as --dry-run measures; the recipe laptop is made for it"
        log.warning(text, size)


def _train_waves(
    inputs: TrainingInputs,
    run: RunDirectory,
    reader: ShardReader,
    teacher: Teacher | None,
    plan: WavePlan,
    finished: Sequence[int],
    *,
    world: World,
    stop: StopFlag,
    watchdog: Watchdog,
) -> None:
    """Train the folds of all groups that this rank is in, one group after another."""
    groups = make_fold_groups(world, plan)
    locked = [fold for group, folds in groups if group.is_leader for fold in folds]
    locked += finished if world.is_leader else []
    with exclusive_locks([(run.fold(k).lock, f"fold {k} of {run.path}") for k in locked], world):
        world.on_leader(lambda: run_start.require_unchanged(run))
        if world.is_leader:
            for fold in finished:
                run.fold(fold).remove_checkpoints()
        caches = CacheKeeper(inputs.options.cache, world)
        for group, folds in groups:
            connect(group, stop, watchdog)
            caches.join(group)
            for fold in folds:
                _train_fold(inputs, fold, run, reader, teacher, world=world, group=group, stop=stop, caches=caches)
            if group.any_rank(bool(stop)):
                raise group.stop_request(stop.signal_name, "after the last step")
            release(group)


def _train_fold(
    inputs: TrainingInputs,
    fold: int,
    run: RunDirectory,
    reader: ShardReader,
    teacher: Teacher | None,
    *,
    world: World,
    group: Group,
    stop: StopFlag,
    caches: CacheKeeper,
) -> None:
    """Train a fold, and leave nothing of it on the device: the next one, or the ensemble, may need all of it."""
    if group.is_leader:
        run.fold(fold).remove_temporary_files()
    data = FoldData.of(reader, fold, run.dataset.num_folds, caches)
    try:
        if teacher is not None:
            data = _add_pseudo_labels(inputs, data, fold, run, teacher, world=world, group=group, stop=stop)
        FoldTrainer(
            run.recipe,
            fold,
            data,
            world=world,
            group=group,
            directory=run.fold(fold),
            stop=stop,
            options=inputs.options,
            encoder_sha256=run.encoder_sha256,
        ).run()
    except FileNotFoundError:
        # The mount of the run may have vanished at any moment.
        run.fold(fold).require_run_directory()
        raise
    release_memory()


def _add_pseudo_labels(
    inputs: TrainingInputs,
    data: FoldData,
    fold: int,
    run: RunDirectory,
    teacher: Teacher,
    *,
    world: World,
    group: Group,
    stop: StopFlag,
) -> FoldData:
    def stop_if_asked() -> None:
        if group.any_rank(bool(stop)):
            raise group.stop_request(stop.signal_name, f"fold {fold} is being pseudo-labeled")

    # Not for a training without a teacher, which needs none of it.
    from pneumo.training.pseudo_labels import Labeler, with_labels

    labeler = Labeler(
        run=run,
        fold=fold,
        teacher=teacher,
        reader=data.reader,
        world=world,
        group=group,
        workers=inputs.options.workers,
        stop_if_asked=stop_if_asked,
    )
    return with_labels(data, labeler.labels())


def open_run(
    inputs: TrainingInputs, dataset: Path, manifest: Manifest, world: World
) -> tuple[RunDirectory, ShardReader, tuple[int, ...], Teacher | None]:
    """Start or load the run; return it, the dataset without its excluded images, the folds and the teacher.

    Collective.
    """
    table = world.on_leader(lambda: SampleTable.read(dataset))
    reader = ShardReader(dataset, table)
    world.on_leader(lambda: check_expected(inputs.expected, table))
    workers = inputs.options.workers
    excluded = resolve_excluded(inputs.run, reader, world, skip=inputs.skip_damaged, workers=workers)
    identity, path = DatasetIdentity.of(manifest, *excluded), inputs.teacher
    reader = reader.exclude(identity.all_excluded)
    folds = check_folds(inputs.folds, manifest, reader.table)
    world.on_leader(lambda: check_unlabeled(inputs.recipe, reader.table, folds))
    if world.is_leader and not reader.table.positive.any():
        log.warning("no training image has a pneumothorax: nothing can be learned; check the masks of the dataset")
    teacher = (
        None
        if path is None
        else world.on_leader(lambda: open_teacher(path, reader.table, manifest.num_folds, identity.excluded))
    )
    taught_by = "" if teacher is None else teacher.sha256
    settle = partial(_settle, world.device)
    run = world.on_leader(lambda: run_start.create(inputs.run, inputs.recipe, identity, settle, taught_by))
    # Another rank may have another device, and a resumed run another one than it was started on.
    resolve_auto(run.recipe, world.device)
    return run, reader, folds, teacher


def _settle(device: torch.device, recipe: Recipe) -> tuple[Recipe, str]:
    return resolve_auto(recipe, device), first_weights(recipe)


def _finish(run: RunDirectory, world: World, reader: ShardReader, inputs: TrainingInputs) -> None:
    locks = [(run.lock, str(run.path))] if world.is_leader else []
    with exclusive_locks(locks, world), explain_out_of_memory(*LESS_MEMORY):
        finish_run(run, world, reader, workers=inputs.options.workers)
        if len(reader.table.select("test")):
            mean = build_mean([run], reader=reader, world=world, workers=inputs.options.workers)
            chosen = choose_rule([run], mean, "auto", run.recipe.min_component)
            ensembler = Ensembler(mean, chosen.rule, min_component=run.recipe.min_component)
            write_submission(ensembler, run.submission, expected=inputs.expected, skip_damaged=inputs.skip_damaged)
        elif world.is_leader:
            warn_unless_better(run.path, metrics.read(run.metrics))
            text = (
                "%s has no test images: no submission is written; for one, make a dataset with them (job/shard.py"
                " --test-dicom), and give it to job/ensemble.py: nothing has to be trained again"
            )
            log.warning(text, reader.dataset)
        heartbeat.touch("writing the report")
        # Not before the first step: the charts' library is a third of what training imports beside torch.
        from pneumo.training.run_report import write_last

        world.on_leader(lambda: write_last(run, reader))


def _log_remaining_folds(run: RunDirectory, world: World, reader: ShardReader, inputs: TrainingInputs) -> None:
    if world.is_leader:
        remaining = run.unfinished_folds
        trained = (
            f"still to be trained: fold {', '.join(map(str, remaining))}" if remaining else "all folds are trained"
        )
        if len(reader.table.select("test")):
            words = ["--runs", run.path, "--dataset", url(inputs.dataset) or inputs.dataset, "--out", run.submission]
            words += ["--cache-dir", cache] if (cache := inputs.options.cache.directory) else []
            words += ["--expected", inputs.expected] if inputs.expected else []
            words += ["--skip-damaged"] if inputs.skip_damaged else []
            command = shlex.join(map(str, words))
            log.info("%s; then job/ensemble.py %s writes the metrics and the submission", trained, command)
        else:
            log.info("%s; then the same command without --folds writes the metrics", trained)
        for caveat in exclusion_caveats(run.dataset.excluded):
            log.warning("%s", caveat)
