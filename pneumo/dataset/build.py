"""Build a dataset from DICOM files: plan, write the shards, merge; each step can be interrupted and resumed."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from pneumo.dataset import folds as fold_assignment
from pneumo.dataset import (
    input_record,
    limits,
    merge,
    messages,
    other_input,
    ownership,
    paths,
    quarantine,
    retry,
    scan,
    shard_record,
    shard_writer,
    shared_headers,
)
from pneumo.dataset import plan as build_plan
from pneumo.dataset.input_record import InputRecord, OtherInputError
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.other_input import Planner
from pneumo.dataset.plan import BuildPlan, ShardPlan
from pneumo.dataset.scan import Archive, QuarantineRow, ScannedFile, Source
from pneumo.dataset.table import SampleTable
from pneumo.dataset.workers import Pool, WorkerDied
from pneumo.dicom.opening import sha256
from pneumo.dicom.rejection import FileRejectedError
from pneumo.masks import annotations
from pneumo.runtime import log_file
from pneumo.runtime.console import Progress, log
from pneumo.runtime.errors import RECOVERABLE_ERRNOS, StartAgain, UserError, counted

R = TypeVar("R")

SCAN_CHUNK = 64
"""Headers read per message to a worker; one takes about as long as the message itself."""
MAX_ATTEMPTS = 3
"""Attempts to write a shard whose process dies although each of its files can be read alone, as without memory."""


def build(inputs: BuildInputs, out: Path, options: BuildOptions, *, log_as: str = "") -> Manifest | None:
    """Build the dataset ``out``, or this task's part of it, or resume a build that was interrupted.

    A finished dataset of the same input is kept; another number or seed of folds rewrites only its table.

    Args:
        inputs: The user's files.
        out: Directory of the dataset.
        options: How to build.
        log_as: Name of the command that keeps its log in the dataset, once it is clear that ``out`` is one; "" = none.

    Returns:
        What the dataset holds, or None while shards of other tasks are still missing.

    Raises:
        UserError: On wrong input, when too many files are quarantined or nothing is left, when there are fewer
            patients than folds, when ``out`` holds a dataset of other input, its unfinished build is damaged or
            or something else would be replaced.
        StartAgain: When another process removes this one's files.
    """
    ownership.check_dataset(out)
    with Pool(options.workers, options.limits) as pool:
        planner = _planner(inputs, out, options, pool)
        plan = planner()
        try:
            return build_planned(inputs, out, plan, options, pool, log_as=log_as)
        except OtherInputError as other:
            raise other_input.explain(out, other, plan, planner, inputs, options) from None
        except OSError as error:
            if error.errno not in RECOVERABLE_ERRNOS:
                raise
            raise UserError(
                f"{out}: {error.strerror}",
                "a directory with free space, and the permission to write there",
                "make space or choose another --out, and start the same command again; it resumes from what is there",
            ) from error


def make_plan(inputs: BuildInputs, out: Path, options: BuildOptions, pool: Pool) -> BuildPlan:
    """Read the CSVs and every file's header, and plan the dataset."""
    return _planner(inputs, out, options, pool)()


def build_planned(
    inputs: BuildInputs, out: Path, plan: BuildPlan, options: BuildOptions, pool: Pool, *, log_as: str = ""
) -> Manifest | None:
    """Build the dataset of a plan, or this task's part of it; see ``build``.

    Raises:
        NothingToBuildError: When a split has no image; the lists in ``out`` have the reasons.
        OtherInputError: When ``out`` was built from other input.
        OSError: When it cannot be written.
    """
    messages.log_plan(plan, options)
    if not paths.manifest(out).is_file():
        try:
            messages.check_patients(plan, options.num_folds)
        except UserError:
            if not paths.plan(out).is_file():
                # Headers that this task has published, which nobody will need.
                shutil.rmtree(paths.build(out), ignore_errors=True)
            raise
        input_record.write_or_check(out, plan)
    if log_as:
        log_file.start(out, log_as)
    return _reuse(out, plan, options) if paths.manifest(out).is_file() else _build(inputs, out, plan, options, pool)


def _planner(inputs: BuildInputs, out: Path, options: BuildOptions, pool: Pool) -> Planner:
    """Read the CSVs and every file's header; return what plans the dataset."""
    masks = annotations.read_masks(inputs.masks) if inputs.masks else None
    patients = annotations.read_patients(inputs.patients) if inputs.patients else None
    exclude = [path for path in (out, inputs.masks, inputs.patients) if path is not None]
    sources = scan.find(inputs.dicom, inputs.test_dicom, labeled=masks is not None, exclude=exclude)
    # One of several tasks writes the table, and a finished dataset mostly has its folds.
    if masks is not None and options.tasks == 1 and not paths.manifest(out).is_file():
        fold_assignment.import_ahead()
    return partial(
        build_plan.make,
        _scan(sources, out, options, pool),
        masks or {},
        patients,
        id_source=inputs.id,
        ignore_patient_id=inputs.ignore_patient_id,
        include_non_frontal=options.include_non_frontal,
        keep_unlabeled=inputs.keep_unlabeled,
        shard_size=options.shard_size,
        # An explanation plans again, and need not read the copies of an image again.
        file_digest=cache(sha256),
    )


def _build(inputs: BuildInputs, out: Path, plan: BuildPlan, options: BuildOptions, pool: Pool) -> Manifest | None:
    for split in inputs.splits:
        if split not in plan.planned_splits:
            quarantine.write(out, plan, plan.quarantined)
            # Another task may do the same.
            shutil.rmtree(paths.build(out), ignore_errors=True)
            raise messages.nothing_to_build(out, plan, split)
    with _explained_removal(out):
        return _write_and_merge(out, plan, options, pool)


def _write_and_merge(out: Path, plan: BuildPlan, options: BuildOptions, pool: Pool) -> Manifest | None:
    """Write this task's shards, and finish the dataset when none is missing."""
    shards = plan.shards[options.shards]
    retry.drop_records(out, shards, options.conditions)
    if paths.manifest(out).is_file():
        return _reuse(out, plan, options)
    _write_shards(out, shards, options, pool)
    missing = [shard.name for shard in plan.shards if not shard_record.is_done(out, shard)]
    if missing and not paths.manifest(out).is_file():
        log.info(
            "task %s is done; still missing are %d of %s (%s first): the task that writes the last one finishes "
            "the dataset",
            options.task, len(missing), counted(len(plan.shards), "shard"), missing[0],
        )  # fmt: skip
        return None
    pool.stop()
    manifest = merge.merge(out, plan, options)
    if manifest is None:
        log.info("task %s is done; another process is writing shards again and finishes the dataset", options.task)
    return manifest


@contextmanager
def _explained_removal(out: Path) -> Iterator[None]:
    """Turn the error of a file of the dataset that another process has removed into another start."""
    try:
        yield
    except FileNotFoundError as error:
        # tempfile makes the names of temporary files absolute.
        if error.filename is None or not Path(error.filename).resolve().is_relative_to(out.resolve()):
            raise
        # Most likely a second process of the same task, such as a pod of a Job that was deleted, has merged the shards
        # and removed what this one was writing; or the file system was unmounted.
        raise StartAgain(f"another process has removed {error.filename}, which this one was writing") from error


def _reuse(out: Path, plan: BuildPlan, options: BuildOptions) -> Manifest:
    """Return what a finished dataset holds, after giving it the folds asked for."""
    manifest = Manifest.read(out)
    if manifest.digest != plan.digest:
        raise OtherInputError("a dataset", InputRecord.of_dataset(manifest))
    quarantine.check_percent(out, manifest.quarantined, manifest.found, options.max_quarantined)
    retry.log_finished(out)
    has_folds = merge.has_folds(SampleTable.read(out, other_folds=True), manifest, options)
    log.info("%s is already built from this input; %s", out, "nothing to do" if has_folds else "other folds")
    # A process may have been killed when only the removal of .build was left to do.
    return manifest if has_folds and not paths.build(out).exists() else merge.refold(out, options)


def _scan(sources: Sequence[Source], out: Path, options: BuildOptions, pool: Pool) -> list[ScannedFile | QuarantineRow]:
    """Read the headers of the files, and in place of zip archives those of their members."""
    shared = _share_headers(sources, out, options, pool)
    found = _scan_files(sources, shared, options, pool)
    archives = [item for item in found if isinstance(item, Archive)]
    # In one order, since tasks share what they read of so many at a time; archives come as they are done.
    members = sorted(
        (m for archive in archives for m in archive.members), key=lambda member: (member.split, member.file)
    )
    if archives:
        log.info("%s in %s", counted(len(members), "file"), counted(len(archives), "zip archive"))
        found += _scan_files(members, shared, options, pool)
    return [item for item in found if not isinstance(item, Archive)]


def _share_headers(
    sources: Sequence[Source], out: Path, options: BuildOptions, pool: Pool
) -> shared_headers.SharedHeaders | None:
    """Return the headers that this task shares with others; None without others, or when the dataset is finished."""
    if options.tasks == 1 or paths.manifest(out).is_file():
        return None
    # In a worker, which may wait for a disk that hangs.
    ((_, key),) = pool.run(shared_headers.make_key, [shared_headers.choose_key_files(sources)])
    if key is None or isinstance(key, WorkerDied):
        log.info("headers are not shared with other tasks: %s", "no DICOM file" if key is None else "a read hangs")
        return None
    return shared_headers.SharedHeaders.of(out, key)


def _scan_files(
    sources: Sequence[Source], shared: shared_headers.SharedHeaders | None, options: BuildOptions, pool: Pool
) -> list[ScannedFile | QuarantineRow | Archive]:
    chunks = [sources[start : start + SCAN_CHUNK] for start in range(0, len(sources), SCAN_CHUNK)]
    # Tasks that run at once read other files first.
    first = options.task_number * len(chunks) // options.tasks
    chunks = chunks[first:] + chunks[:first]
    scanned: list[ScannedFile | QuarantineRow | Archive] = []
    suspects: list[Source] = []
    with (
        Progress("headers", len(sources), unit="files") as progress,
        # Closed on any exit from the block: an interrupted build must not leave workers that go on writing.
        closing(pool.run(shared.scan if shared else scan.scan_files, chunks)) as outcomes,
    ):
        for position, results in outcomes:
            if isinstance(results, WorkerDied):
                suspects += chunks[position]
            else:
                scanned += results
                progress.step(len(results))
    read = shared.scan_one if shared else scan.scan_file
    for source, result in _read_individually(read, suspects, options, pool).items():
        scanned.append(scan.quarantine_row(source, "", result) if isinstance(result, FileRejectedError) else result)
    return scanned


def _write_shards(out: Path, shards: Sequence[ShardPlan], options: BuildOptions, pool: Pool) -> None:
    todo = [shard for shard in shards if not shard_record.is_done(out, shard)]
    total, left = (sum(len(shard.samples) for shard in part) for part in (shards, todo))
    if left < total:
        log.info("resuming: already in shards are %d of %s", total - left, counted(total, "image"))
    crashing_files: dict[Source, FileRejectedError] = {}
    with Progress("shards", total, done=total - left, unit="images") as progress:
        for _ in range(MAX_ATTEMPTS):
            failed: list[ShardPlan] = []
            write = partial(shard_writer.write, out, options.conditions, crashing_files)
            with closing(pool.run(write, todo)) as counts:
                for position, count in counts:
                    if isinstance(count, WorkerDied):
                        failed.append(todo[position])
                    else:
                        progress.step(count)
            if not failed:
                return
            sources = (sample.source for shard in failed for sample in shard.samples)
            suspects = [source for source in sources if source not in crashing_files]
            outcomes = _read_individually(shard_writer.probe, suspects, options, pool)
            crashing_files |= {
                source: outcome for source, outcome in outcomes.items() if isinstance(outcome, FileRejectedError)
            }
            todo = failed
    raise messages.writer_died(todo[0].name, MAX_ATTEMPTS)


def _read_individually(
    read: Callable[[Source], R], suspects: Sequence[Source], options: BuildOptions, pool: Pool
) -> dict[Source, R | FileRejectedError]:
    """Read each file in a worker by itself; return its result, or its rejection when it ends the worker."""
    if suspects:
        log.warning("a worker process died; reading %s again, one at a time", counted(len(suspects), "file"))
    results: dict[Source, R | FileRejectedError] = {}
    with (
        Progress("files one at a time", len(suspects), unit="files") as progress,
        closing(pool.run(read, suspects, max_attempts=2)) as outcomes,
    ):
        for position, result in outcomes:
            results[suspects[position]] = (
                limits.rejection_of_exit(result.exit_code, options.limits) if isinstance(result, WorkerDied) else result
            )
            progress.step()
    return results
