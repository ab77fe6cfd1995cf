"""Messages of a build: warnings about the input before the work, errors that end it, and the summary at the end."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pneumo.dataset import paths, quarantine
from pneumo.dataset.manifest import GroupedBy, Manifest
from pneumo.dataset.patients import count_patients
from pneumo.dataset.plan import BuildPlan
from pneumo.dicom import opening
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError


def log_plan(plan: BuildPlan, masks: Mapping[str, str], max_quarantined: float) -> None:
    """Log what the user should know about the input before the work begins.

    Args:
        plan: What the input becomes.
        masks: Run lengths by image id.
        max_quarantined: Percent of the files found that may be quarantined.
    """
    if unlisted := sum(item.found == opening.UNLISTED_DIRECTORY for item in plan.quarantined):
        log.warning("%d directories cannot be listed: each counts as one file, however many are in it", unlisted)
    if plan.unlabeled:
        log.warning(
            "%d files have no row in the masks CSV and are left out: unlabeled is not negative", len(plan.unlabeled)
        )
        if any(item.stem in masks for item in plan.unlabeled):
            log.warning("the masks CSV seems to name files, not SOPInstanceUIDs: ids must be SOPInstanceUIDs")
    if plan.missing:
        log.warning("%d ids of the masks CSV have no file, first %s", len(plan.missing), plan.missing[0])
    samples = [sample for shard in plan.shards for sample in shard.samples]
    train, test = ({item.image_id for item in samples if item.source.split == split} for split in ("train", "test"))
    if both := len(train & test):
        log.warning("%d test images are training images too: their metrics will be too good", both)
    if plan.pictures:
        log.warning(
            "%d images are PNG or JPEG files, which have no header: patients, views and pixel spacing are unknown, and "
            "it is taken for granted that they show frontal chest X-rays with dense tissue in white",
            plan.pictures,
        )
    if plan.renamed:
        log.info("%d files are not named after their image id (SOPInstanceUID), which is what counts", plan.renamed)
    _log_patients(plan)
    if plan.shards and quarantine.exceeds(len(plan.quarantined), plan.found, max_quarantined):
        log.warning(
            "%d of %d files are quarantined by their headers alone (%s): with --max-quarantined %g the dataset will "
            "not be published",
            len(plan.quarantined), plan.found, quarantine.format_counts(_count_reasons(plan)), max_quarantined,
        )  # fmt: skip


def _log_patients(plan: BuildPlan) -> None:
    """Warn when patients may be divided between folds."""
    patients = plan.training_patients
    if plan.grouped_by == "patients csv":
        if unknown := int((patients < 0).sum()):
            log.warning("%d training images have no row in the patients CSV; each counts as a patient", unknown)
    elif len(patients) and count_patients(patients) == len(patients):
        log.warning(
            "no patients CSV, and no two training images share a PatientID: folds may leak, that is, have images of "
            "one patient in training and validation"
        )
    elif len(patients):
        log.warning("no patients CSV: patients are distinguished by PatientID; folds leak where that is not reliable")


_GROUPED_BY: dict[GroupedBy, str] = {
    "patients csv": "by the patients CSV",
    "dicom": "by PatientID",
    "none": "each image counts as one",
}


def summary(out: Path, manifest: Manifest) -> str:
    """Return the closing lines of a build: where every file went, and what the dataset holds."""
    held = []
    if manifest.train:
        held.append(
            f"{manifest.train} training images: {manifest.positive} positive, {manifest.patients} patients"
            f" ({_GROUPED_BY[manifest.grouped_by]}), {manifest.num_folds} folds"
        )
    if manifest.test:
        held.append(f"{manifest.test} test images")
    held.append(f"{manifest.shards} shards")
    if manifest.missing:
        held.append(f"{manifest.missing} ids of the masks CSV without a file")
    return (
        f"{manifest.found} files found = {manifest.samples} samples + {manifest.quarantined} quarantined"
        f" + {manifest.unlabeled} unlabeled + {manifest.merged_duplicates} merged duplicates\n"
        f"{'; '.join(held)}\ndataset: {out}\n"
    )


def nothing_to_build(out: Path, plan: BuildPlan) -> UserError:
    """Return the error of an input without a single sample."""
    reasons = _count_reasons(plan)
    if plan.unlabeled:
        reasons["no row in the masks CSV"] = len(plan.unlabeled)
    counts = f" ({quarantine.format_counts(reasons)})" if reasons else ""
    return UserError(
        f"no usable image in {plan.found} files{counts}",
        "DICOM images with a row in the masks CSV",
        f"check --dicom and --masks, and see {out / paths.QUARANTINE} and {out / paths.UNMATCHED}",
    )


def other_input(out: Path, what: str) -> UserError:
    """Return the error of a directory that holds ``what``, built from another input than this."""
    return UserError(
        f"{out}: {what} of other files, masks or patients (a file's size and time of modification count)",
        "the input and the version of pneumo that it was started with",
        "choose another --out, or remove this directory; copy input with its times (cp -p, rsync -t)",
    )


def writer_died(shard: str, attempts: int) -> UserError:
    """Return the error of a shard whose process dies although each of its files can be read alone."""
    return UserError(
        f"the process that wrote {shard} died {attempts} times, although each of its files can be read alone",
        "enough memory for all workers",
        "try fewer workers; the same command resumes from the shards that are finished",
    )


def _count_reasons(plan: BuildPlan) -> Counter[str]:
    return Counter(str(item.reason) for item in plan.quarantined)
