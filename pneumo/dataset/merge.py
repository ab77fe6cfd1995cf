"""The end of a build: the units' records become the table, the lists and, last of all, dataset.json."""

import csv
import fcntl
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumo import ids
from pneumo.dataset import folds as fold_assignment
from pneumo.dataset import layout, unit
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.plan import BuildPlan
from pneumo.dataset.scan import Refusal
from pneumo.dataset.table import SampleTable
from pneumo.errors import UserError
from pneumo.files import publish_text, remove_leftovers


def merge(dataset: Path, plan: BuildPlan, folds: int, seed: int) -> Manifest:
    """Finish a dataset of which every unit is done, unless another process has just done so.

    Raises:
        UserError: When not one file became a sample; quarantine.csv then says why.
    """
    with _lock(dataset):
        done = layout.manifest(dataset).is_file()
        manifest = Manifest.read(dataset) if done else _finish(dataset, plan, folds, seed)
        shutil.rmtree(layout.build(dataset), ignore_errors=True)
    return manifest


def assign_folds(dataset: Path, table: SampleTable, manifest: Manifest, folds: int, seed: int) -> Manifest:
    """Give every training image a fold and publish the table and dataset.json; the shards stay as they are."""
    fold = np.full(len(table), -1, np.int8)
    train = table.where("train")
    fold[train] = fold_assignment.assign(table.area[train], table.patient[train], folds, seed)
    table = replace(table, fold=fold)
    table.write(dataset)
    digest = fold_assignment.digest(table.image_id, fold)
    manifest = replace(manifest, folds=folds, fold_seed=seed, folds_digest=digest, samples_digest=table.digest())
    manifest.write(dataset)
    return manifest


def _finish(dataset: Path, plan: BuildPlan, folds: int, seed: int) -> Manifest:
    records = [unit.read_record(dataset, item) for item in plan.units]
    refused = [*plan.refused, *(refusal for record in records for refusal in record.refused)]
    _write_quarantine(dataset, refused)
    _write_unmatched(dataset, plan)
    table = SampleTable.from_rows([row for record in records for row in record.rows])
    if not len(table):
        raise UserError(
            f"none of {plan.found} files became a sample",
            "at least one readable image with a row in the masks CSV, or a test image",
            f"see {dataset / layout.QUARANTINE} and {dataset / layout.UNMATCHED}",
        )
    # Every unit is done by now, and the lock keeps other merges out.
    for folder in (dataset, layout.shards(dataset)):
        remove_leftovers(folder)
    return assign_folds(dataset, table, _manifest(plan, table, len(refused)), folds, seed)


def _manifest(plan: BuildPlan, table: SampleTable, quarantined: int) -> Manifest:
    train = table.where("train")
    return Manifest(
        found=plan.found,
        samples=len(table),
        train=len(train),
        test=len(table) - len(train),
        positive=int(table.positive.sum()),
        quarantined=quarantined,
        unlabelled=len(plan.unlabelled),
        merged=plan.merged,
        missing=len(plan.missing),
        renamed=plan.renamed,
        shards=len(np.unique(table.shard)),
        patients=len(np.unique(fold_assignment.distinct_groups(table.patient[train]))),
        folds=0,
        fold_seed=0,
        grouped_by=plan.grouped_by,
        digest=plan.digest,
        folds_digest="",
        samples_digest="",
    )


def _write_quarantine(dataset: Path, refused: Sequence[Refusal]) -> None:
    columns = ["split", "file", "image_id", "reason", "stage", "found", "expected", "action"]
    order = sorted(refused, key=lambda item: (item.split != "train", item.file))
    _write_csv(dataset / layout.QUARANTINE, columns, [[getattr(item, name) for name in columns] for item in order])


def _write_unmatched(dataset: Path, plan: BuildPlan) -> None:
    rows = [[item.image_id, item.source.file, "no_row"] for item in plan.unlabelled]
    rows += [[image_id, "", "no_file"] for image_id in plan.missing]
    _write_csv(dataset / layout.UNMATCHED, ["image_id", "file", "reason"], rows)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # File names come from anywhere: they need not be UTF-8, and may be what a spreadsheet would run.
    writer.writerows([ids.harmless(cell) for cell in row] for row in rows)
    publish_text(path, text.getvalue())


@contextmanager
def _lock(dataset: Path) -> Iterator[None]:
    """Let one process merge at a time; the lock goes with its holder, however that ends."""
    path = layout.lock(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
