"""Build a dataset from DICOM files: plan, write the units, merge; each step can be interrupted and taken up again."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from annotated_types import Interval

from pneumo.dataset import folds as fold_assignment
from pneumo.dataset import limits, merge, paths, plan, quarantine, scan, shard_writer, workers
from pneumo.dataset.limits import Limits
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.plan import BuildPlan, ShardPlan
from pneumo.dataset.scan import QuarantineRow, ScannedFile, Source
from pneumo.dataset.table import SampleTable
from pneumo.dataset.workers import WorkerDied
from pneumo.dicom import reader
from pneumo.dicom.rejection import DicomRejectedError
from pneumo.masks import annotations
from pneumo.runtime.config import config_dataclass, refuse
from pneumo.runtime.console import Progress, log
from pneumo.runtime.errors import RECOVERABLE_ERRNOS, UserError
from pneumo.runtime.files import publish_text
from pneumo.runtime.ranges import NumFolds, Percent, Seed, Workers

R = TypeVar("R")

SCAN_CHUNK = 64
"""Headers read per message to a worker; one takes about as long as the message itself."""
ROUNDS = 3
"""Times that a shard is begun when its process dies although no file of it alone ends one: memory may run out."""


@dataclass(frozen=True, kw_only=True)
class BuildInputs:
    """What the user gives."""

    dicom: Path
    """Directory of the training images (of test images when there are no masks)."""
    test_dicom: Path | None = None
    """Directory of the test images."""
    masks: Path | None = None
    """CSV of run-length encoded masks."""
    patients: Path | None = None
    """CSV of image ids and patient ids."""


@config_dataclass
class BuildOptions:
    """How it is built; the result depends on the folds, their seed and the shard size alone.

    Limits and ``max_quarantined`` decide what becomes of bad files and of a dataset with too many of them.
    """

    num_folds: NumFolds = 5
    seed: Seed = 0
    workers: Workers = 1
    task: Annotated[int, Interval(ge=0, lt=1_000_000)] = 0
    """This process's number among ``tasks``, from 0."""
    tasks: Annotated[int, Interval(ge=1, le=1_000_000)] = 1
    shard_size: Annotated[int, Interval(ge=1, le=1_000_000)] = plan.SHARD_SIZE
    """Images in a shard."""
    max_quarantined: Percent = 5.0
    """Percent of the files found that may be quarantined; with more, the dataset is not published."""
    limits: Limits = field(default_factory=Limits)
    """What reading one file may cost."""

    def __post_init__(self) -> None:
        if self.task >= self.tasks:
            raise refuse("task", self.task, f"0 to {self.tasks - 1}")


def build(inputs: BuildInputs, out: Path, options: BuildOptions) -> Manifest | None:
    """Build the dataset ``out``, or this task's part of it, or take up a build that was interrupted.

    A finished dataset of the same input is kept; other folds rewrite its table alone.

    Returns:
        What the dataset holds, or None while units of other tasks are still missing.

    Raises:
        UserError: On wrong input, when too many files are quarantined or nothing is left, or when ``out`` holds a
            dataset of other input.
    """
    whole = make_plan(inputs, out, options)
    try:
        return _keep(out, whole, options) if paths.manifest(out).is_file() else _build(out, whole, options)
    except OSError as error:
        if error.errno not in RECOVERABLE_ERRNOS:
            raise
        raise UserError(
            f"{out}: {error.strerror}",
            "a directory with room, and the permission to write there",
            "make room or choose another --out, and start the same command again; it goes on from what is there",
        ) from None


def _build(out: Path, whole: BuildPlan, options: BuildOptions) -> Manifest | None:
    _claim(out, whole)
    if not whole.shards:
        quarantine.write(out, whole, whole.quarantined)
        shutil.rmtree(paths.build(out))
        raise _nothing(out, whole)
    _write_units(out, whole.shards[options.task :: options.tasks], options)
    missing = [item.name for item in whole.shards if not shard_writer.is_done(out, item)]
    if missing and not paths.manifest(out).is_file():
        log.info(
            "task %d/%d is done; %d of %d shards are still missing (%s first): the task that writes the last finishes",
            options.task, options.tasks, len(missing), len(whole.shards), missing[0],
        )  # fmt: skip
        return None
    return merge.merge(out, whole, options.num_folds, options.seed, options.max_quarantined)


def make_plan(inputs: BuildInputs, out: Path, options: BuildOptions) -> BuildPlan:
    """Read the CSVs and every file's header, and plan the dataset."""
    table = annotations.read_masks(inputs.masks) if inputs.masks else None
    patients = annotations.read_patients(inputs.patients) if inputs.patients else None
    exclude = [path for path in (out, inputs.masks, inputs.patients) if path is not None]
    sources = scan.find(inputs.dicom, inputs.test_dicom, labelled=table is not None, exclude=exclude)
    if table is None:
        log.warning("no masks CSV: the images of %s have no label and become test images", inputs.dicom)
    masks: Mapping[str, str] = table.masks if table else {}
    whole = plan.make(_scan(sources, options), masks, patients, shard_size=options.shard_size)
    _say(whole, masks)
    if whole.shards and quarantine.too_many(len(whole.quarantined), whole.found, options.max_quarantined):
        log.warning(
            "%d of %d files are quarantined by their headers alone (%s): with --max-quarantined %g the dataset will "
            "not be published",
            len(whole.quarantined), whole.found, quarantine.count(_reasons(whole)), options.max_quarantined,
        )  # fmt: skip
    return whole


def _scan(sources: Sequence[Source], options: BuildOptions) -> list[ScannedFile | QuarantineRow]:
    chunks = [sources[start : start + SCAN_CHUNK] for start in range(0, len(sources), SCAN_CHUNK)]
    found: list[ScannedFile | QuarantineRow] = []
    suspects: list[Source] = []
    with Progress("headers", len(sources), unit="files") as progress:
        for position, results in workers.run(scan.scan_all, chunks, options.workers, options.limits):
            if isinstance(results, WorkerDied):
                suspects += chunks[position]
            else:
                found += results
                progress.step(len(results))
    for source, result in _one_by_one(scan.scan, suspects, options).items():
        found.append(scan.quarantine_row(source, "", result) if isinstance(result, DicomRejectedError) else result)
    return found


def _write_units(out: Path, units: Sequence[ShardPlan], options: BuildOptions) -> None:
    todo = [item for item in units if not shard_writer.is_done(out, item)]
    total, left = (sum(len(item.samples) for item in part) for part in (units, todo))
    if left < total:
        log.info("going on: %d of %d images are already in shards", total - left, total)
    deadly: dict[Source, DicomRejectedError] = {}
    with Progress("shards", total, done=total - left, unit="images") as progress:
        for _ in range(ROUNDS):
            broken: list[ShardPlan] = []
            write = partial(shard_writer.write, out, deadly)
            for position, count in workers.run(write, todo, options.workers, options.limits):
                if isinstance(count, WorkerDied):
                    broken.append(todo[position])
                else:
                    progress.step(count)
            if not broken:
                return
            suspects = [entry.source for item in broken for entry in item.samples if entry.source not in deadly]
            outcomes = _one_by_one(shard_writer.probe, suspects, options)
            deadly |= {
                source: outcome for source, outcome in outcomes.items() if isinstance(outcome, DicomRejectedError)
            }
            todo = broken
    raise UserError(
        f"the process that wrote {todo[0].name} died {ROUNDS} times, and no file of it alone ends a process",
        "memory for every worker",
        "try fewer workers; the same command goes on from the shards that are there",
    )


def _one_by_one(
    read: Callable[[Source], R], suspects: Sequence[Source], options: BuildOptions
) -> dict[Source, R | DicomRejectedError]:
    """Read each file for itself; return the result, or what to say of a file that ends the process that reads it."""
    if suspects:
        log.warning("a worker process died; reading %d files again, each for itself", len(suspects))
    results: dict[Source, R | DicomRejectedError] = {}
    with Progress("files by themselves", len(suspects), unit="files") as progress:
        for position, result in workers.run(read, suspects, options.workers, options.limits, tries=2):
            source = suspects[position]
            results[source] = (
                limits.death(result.exit_code, options.limits) if isinstance(result, WorkerDied) else result
            )
            progress.step()
    return results


def _claim(out: Path, whole: BuildPlan) -> None:
    """Note which input the unfinished dataset belongs to, or check that it is this one."""
    path = paths.plan(out)
    try:
        if not path.is_file():
            publish_text(path, json.dumps({"digest": whole.digest}) + "\n")
    except OSError as error:
        raise UserError(
            f"{out}: {error.strerror}", "a directory that can be written to", "choose another --out"
        ) from None
    if json.loads(path.read_text(encoding="utf-8"))["digest"] != whole.digest:
        raise _other_input(out, "an unfinished dataset")


def _keep(out: Path, whole: BuildPlan, options: BuildOptions) -> Manifest:
    """Return what a finished dataset holds, after giving it the folds asked for."""
    manifest = Manifest.read(out)
    if manifest.digest != whole.digest:
        raise _other_input(out, "a dataset")
    quarantine.check(out, manifest.quarantined, manifest.found, options.max_quarantined)
    # A process may have been killed when only this was left to do.
    shutil.rmtree(paths.build(out), ignore_errors=True)
    # The table is compared too: a process may have been killed between writing it and dataset.json.
    table = SampleTable.read(out, other_folds=True)
    if (
        manifest.num_folds == options.num_folds
        and manifest.fold_seed == options.seed
        and manifest.folds_digest == fold_assignment.digest(table.image_id, table.fold)
    ):
        log.info("%s is already built from this input; nothing to do", out)
        return manifest
    log.info("%s is already built from this input; assigning %d folds anew, shards unchanged", out, options.num_folds)
    return merge.assign_folds(out, table, manifest, options.num_folds, options.seed)


def _other_input(out: Path, what: str) -> UserError:
    return UserError(
        f"{out}: {what} of other files, masks or patients",
        "the same input as when it was begun",
        "choose another --out, or remove this directory",
    )


def _say(whole: BuildPlan, masks: Mapping[str, str]) -> None:
    """Log what the user should know before the work begins."""
    if closed := sum(item.found == reader.CLOSED_DIRECTORY for item in whole.quarantined):
        log.warning("%d directories cannot be listed: each counts as one file, whatever it holds", closed)
    if whole.unlabelled:
        log.warning(
            "%d files have no row in the masks CSV and are left out: unlabelled is not healthy", len(whole.unlabelled)
        )
        if any(item.stem in masks for item in whole.unlabelled):
            log.warning("the masks CSV seems to name files, not SOPInstanceUIDs: ids must be SOPInstanceUIDs")
    if whole.missing:
        log.warning("%d ids of the masks CSV have no file, first %s", len(whole.missing), whole.missing[0])
    entries = [entry for item in whole.shards for entry in item.samples]
    train, test = ({entry.image_id for entry in entries if entry.source.split == split} for split in ("train", "test"))
    if both := len(train & test):
        log.warning("%d test images are training images too: their figures will flatter", both)
    if whole.renamed:
        log.info("%d files are not named like their image id (SOPInstanceUID), which is what counts", whole.renamed)
    _say_groups(whole)


def _say_groups(whole: BuildPlan) -> None:
    groups = [entry.patient for item in whole.shards for entry in item.samples if entry.mask is not None]
    unknown = groups.count(-1)
    if whole.grouped_by == "patients csv":
        if unknown:
            log.warning("%d training images have no row in the patients CSV; each counts as a patient", unknown)
    elif groups and len(set(groups) - {-1}) + unknown == len(groups):
        log.warning(
            "no patients CSV, and no two training images share a PatientID: folds may leak, that is, hold images of "
            "one patient in training and validation"
        )
    elif groups:
        log.warning("no patients CSV: patients are told apart by PatientID; folds leak where that is not reliable")


def _nothing(out: Path, whole: BuildPlan) -> UserError:
    reasons = _reasons(whole)
    reasons.update({"no row in the masks CSV": len(whole.unlabelled)} if whole.unlabelled else {})
    return UserError(
        f"nothing to build from {whole.found} files ({quarantine.count(reasons) or 'no file at all'})",
        "DICOM images with a row in the masks CSV",
        f"check --dicom and --masks, and see {out / paths.QUARANTINE} and {out / paths.UNMATCHED}",
    )


def _reasons(whole: BuildPlan) -> Counter[str]:
    return Counter(str(item.reason) for item in whole.quarantined)
