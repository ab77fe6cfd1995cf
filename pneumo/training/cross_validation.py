"""A run from its recipe to its submission, on however many ranks: what job/train.py starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed import heartbeat
from pneumo.distributed.startup import join_fold_group
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World, log_world
from pneumo.inference.submit import write_submission
from pneumo.masks import annotations, rle, submission
from pneumo.runtime.console import log
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import damaged, run_directory
from pneumo.training.ensemble import build_ensembler
from pneumo.training.locking import exclusive_locks
from pneumo.training.loop import FoldData, FoldTrainer, LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.run_directory import DatasetIdentity, RunDirectory
from pneumo.training.run_metrics import finish_run


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """What to train on what, and where."""

    recipe: Recipe
    dataset: Path
    run: Path
    folds: tuple[int, ...]
    """Folds to train, and no more than that; empty = all of the dataset's, and then the figures and the submission."""
    expected: Path | None
    """CSV with the ids that the submission must have."""
    options: LoopOptions
    skip_damaged: bool = False
    """Start the run without the samples that cannot be used."""


def train(job: TrainingInputs, world: World, stop: StopFlag) -> None:
    """Train the folds that are not finished; with all of the dataset's, finish the run and write its submission.

    Raises:
        StopRequested: When the ranks agreed to stop; the same command goes on.
        UserError: When the dataset, the run or the folds do not fit, or another job works on one of the folds.
        RankLost: When a rank that this one depends on is gone.
    """
    with Watchdog(world) as watch:
        manifest = Manifest.read(job.dataset)
        table = SampleTable.read(job.dataset)
        _check_expected(job.expected, table)
        whole = ShardReader(job.dataset, table)
        excluded = damaged.resolve(job.run, whole, world, skip=job.skip_damaged, workers=job.options.workers)
        table = table.exclude(excluded)
        reader = ShardReader(job.dataset, table)
        folds = _check_folds(job.folds, manifest, table)
        run = _open_run(job, manifest, excluded, world)
        group, mine = join_fold_group(world, folds)
        log_world(world, folds)
        unfinished = [fold for fold in mine if not run.fold(fold).is_finished]
        taken = [(run.fold(k).lock, f"fold {k} of {run.path}") for k in mine] if group.is_leader else []
        with exclusive_locks(taken, world):
            watch.depend_on(group.ranks)
            for fold in unfinished:
                if group.is_leader:
                    run.fold(fold).remove_temporary_files()
                data = FoldData(
                    table=table,
                    reader=reader,
                    train=table.select("train", set(range(manifest.num_folds)) - {fold}),
                    validation_rows=table.select("train", {fold}),
                )
                trainer = FoldTrainer(
                    job.recipe,
                    fold,
                    data,
                    world=world,
                    group=group,
                    directory=run.fold(fold),
                    stop=stop,
                    options=job.options,
                )
                trainer.run()
        # One fold group waits here for the others, for days if it must; a lost one ends the wait.
        heartbeat.touch("waiting for the other folds")
        watch.depend_on(range(world.size))
        if world.any_rank(bool(stop)):
            raise StopRequested("before the figures and the submission" if not job.folds else "after the last step")
        if job.folds:
            _say_what_is_left(run, world)
        else:
            # From here on there is nothing to save: what a signal interrupts is done again.
            stop.restore_default_handlers()
            _finish(run, world, reader, job)


def _check_folds(folds: Sequence[int], manifest: Manifest, table: SampleTable) -> tuple[int, ...]:
    if manifest.train == 0:
        raise UserError(
            "the dataset has no labeled images",
            "images with masks",
            "build it with --dicom and --masks, see job/shard.py",
        )
    empty = [f for f in range(manifest.num_folds) if not len(table.select("train", {f}))]
    if empty:
        raise UserError(
            f"fold(s) {', '.join(map(str, empty))} of the dataset have no images ({manifest.patients} patients,"
            f" {manifest.train - len(table.select('train'))} damaged images left out)",
            "at least one patient in each fold",
            "divide the dataset into fewer folds with job/shard.py --num-folds",
        )
    wrong = [f for f in folds if not 0 <= f < manifest.num_folds]
    if wrong or len(set(folds)) != len(folds):
        raise UserError(
            f"--folds {' '.join(map(str, folds))}",
            f"different numbers from 0 to {manifest.num_folds - 1}",
            "correct --folds, or divide the dataset anew with job/shard.py --num-folds",
        )
    return tuple(folds) or tuple(range(manifest.num_folds))


def _check_expected(expected: Path | None, table: SampleTable) -> None:
    """Find a wrong list of ids now and not after the last epoch."""
    if expected is not None:
        ids = dict.fromkeys(table.image_id[table.select("test")].tolist(), rle.EMPTY)
        submission.order_rows(ids, annotations.read_ids(expected), log.debug)


def _open_run(job: TrainingInputs, manifest: Manifest, excluded: dict[str, str], world: World) -> RunDirectory:
    identity = DatasetIdentity(
        digest=manifest.digest,
        folds_digest=manifest.folds_digest,
        num_folds=manifest.num_folds,
        grouped_by=manifest.grouped_by,
        patients=manifest.patients,
        excluded=excluded,
    )
    # The leader makes it; the others find it made.
    run = run_directory.create(job.run, job.recipe, identity) if world.is_leader else None
    world.barrier()
    return run or run_directory.create(job.run, job.recipe, identity)


def _finish(run: RunDirectory, world: World, reader: ShardReader, job: TrainingInputs) -> None:
    with exclusive_locks([(run.lock, str(run.path))] if world.is_leader else [], world):
        finish_run(run, world, reader, workers=job.options.workers)
        if len(reader.table.select("test")):
            ensembler = build_ensembler([run], reader=reader, world=world, workers=job.options.workers)
            write_submission(ensembler, run.submission, expected=job.expected, skip_damaged=job.skip_damaged)


def _say_what_is_left(run: RunDirectory, world: World) -> None:
    if world.is_leader:
        left = ", ".join(map(str, run.unfinished_folds))
        log.info(
            "%s; then job/ensemble.py --runs %s writes figures and submission",
            f"fold(s) {left} are still to be trained" if left else "all folds are trained",
            run.path,
        )
        for text in damaged.caveats(run.dataset.excluded):
            log.warning("%s", text)
