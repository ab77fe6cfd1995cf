"""The end of a build: the shards' records become the table, the lists and, last of all, dataset.json."""

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pneumo.dataset import folds as fold_assignment
from pneumo.dataset import paths, quarantine, shard_record
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.messages import NothingToBuildError
from pneumo.dataset.options import BuildOptions
from pneumo.dataset.paths import Split
from pneumo.dataset.patients import count_patients
from pneumo.dataset.plan import BuildPlan
from pneumo.dataset.scan import QuarantineRow
from pneumo.dataset.table import SCHEMA, SampleTable
from pneumo.runtime import locks
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted
from pneumo.runtime.files import remove_temporary_files


def merge(dataset: Path, plan: BuildPlan, options: BuildOptions) -> Manifest | None:
    """Finish a dataset whose shards are all written, unless another process has just done so.

    Returns:
        What it holds, or None when a shard is missing.

    Raises:
        UserError: When no file became a sample, too many did not, or there are fewer patients than folds; the shards
            are kept, and quarantine.csv has the reason for each file.
    """
    # Tasks of one build wait for each other here: all but the first find the dataset finished.
    with locks.hold(paths.lock(dataset), str(dataset), wait_s=math.inf):
        done = paths.manifest(dataset).is_file()
        if not done and not all(shard_record.is_done(dataset, shard) for shard in plan.shards):
            return None
        manifest = Manifest.read(dataset) if done else _finish(dataset, plan, options)
        shutil.rmtree(paths.build(dataset), ignore_errors=True)
    return manifest


def has_folds(table: SampleTable, manifest: Manifest, options: BuildOptions) -> bool:
    """Return whether a finished dataset has the folds asked for.

    The table is compared too: a process may have been killed between writing it and dataset.json.
    """
    return (
        manifest.num_folds == options.num_folds
        and manifest.fold_seed == options.seed
        and manifest.folds_digest == fold_assignment.digest(table.column("image_id"), table.fold)
    )


def refold(dataset: Path, options: BuildOptions) -> Manifest:
    """Give a finished dataset the folds asked for, and remove what a killed merge has left.

    Raises:
        UserError: When there are fewer patients than folds.
    """
    # Two processes that ask for different folds take turns, so that table and dataset.json are always of the same.
    with locks.hold(paths.lock(dataset), str(dataset), wait_s=math.inf):
        manifest, table = Manifest.read(dataset), SampleTable.read(dataset, other_folds=True)
        if not has_folds(table, manifest, options):
            log.info("%s: assigning %d folds, shards unchanged", dataset, options.num_folds)
            manifest = assign_folds(dataset, table, manifest, options.num_folds, options.seed)
        shutil.rmtree(paths.build(dataset), ignore_errors=True)
    return manifest


def assign_folds(dataset: Path, table: SampleTable, manifest: Manifest, folds: int, seed: int) -> Manifest:
    """Give every training image a fold and publish the table and dataset.json; the shards stay as they are.

    The caller holds the lock of the merge.

    Raises:
        UserError: When there are fewer patients than folds.
    """
    fold = np.full(len(table), -1, np.int8)
    train = table.select("train")
    fold[train] = fold_assignment.assign(table.mask_area[train], table.patient[train], folds, seed)
    table = replace(table, fold=fold)
    table.write(dataset)
    digest = fold_assignment.digest(table.column("image_id"), fold)
    manifest = replace(manifest, num_folds=folds, fold_seed=seed, folds_digest=digest, samples_digest=table.digest())
    manifest.write(dataset)
    return manifest


def _finish(dataset: Path, plan: BuildPlan, options: BuildOptions) -> Manifest:
    # The lock keeps other merges out, and every shard has its record. A second process of the same task, started by
    # mistake, may still be writing one again: it ends with an error when its temporary file is gone.
    for directory in (dataset, paths.shards(dataset)):
        remove_temporary_files(directory)
    table, quarantined = _read_records(dataset, plan)
    quarantine.write(dataset, plan, quarantined)
    for split in (split for split in plan.planned_splits if split != "unlabeled"):
        if not len(table.select(split)):
            raise NothingToBuildError(
                f"no usable image in {counted(plan.found_in[split], f'{split} file')}{_reasons(quarantined, split)}",
                "at least one readable image",
                quarantine.describe_lists(dataset, split),
            )
    quarantine.check_percent(dataset, len(quarantined), plan.found, options.max_quarantined)
    manifest = _manifest(plan, table, len(quarantined), options)
    return assign_folds(dataset, table, manifest, options.num_folds, options.seed)


def _reasons(quarantined: Sequence[QuarantineRow], split: Split) -> str:
    reasons = Counter[str](row.reason for row in quarantined if row.split == split)
    return f" ({quarantine.format_counts(reasons)})" if reasons else ""


def _read_records(dataset: Path, plan: BuildPlan) -> tuple[SampleTable, list[QuarantineRow]]:
    """Return the rows of all shards, and what is quarantined by its header or while a shard was written."""
    records = [shard_record.read(dataset, shard) for shard in plan.shards]
    table = SampleTable.from_arrow(pa.concat_tables([SCHEMA.empty_table(), *(record.rows for record in records)]))
    return table, [*plan.quarantined, *(row for record in records for row in record.quarantined)]


def _manifest(plan: BuildPlan, table: SampleTable, quarantined: int, options: BuildOptions) -> Manifest:
    train = table.select("train")
    return Manifest(
        found=plan.found,
        samples=len(table),
        train=len(train),
        test=len(table.select("test")),
        positive=int(table.positive.sum()),
        quarantined=quarantined,
        left_out=len(plan.left_out),
        unlabeled=0 if plan.keeps_unlabeled else len(plan.unlabeled),
        unlabeled_samples=len(table.select("unlabeled")),
        merged_duplicates=plan.merged_duplicates,
        missing=len(plan.missing),
        renamed=plan.renamed,
        shards=len(np.unique(table.shard)),
        patients=count_patients(table.patient[train]),
        num_folds=options.num_folds,
        fold_seed=options.seed,
        grouped_by=plan.grouped_by,
        id_source=plan.id_source,
        digest=plan.digest,
        folds_digest="",
        samples_digest="",
    )
