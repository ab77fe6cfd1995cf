"""Messages of a build: warnings about the input before the work, errors that end it, and the summary at the end."""

import ntpath
from collections import Counter
from pathlib import Path

import numpy as np

from pneumo.dataset import folds as fold_assignment
from pneumo.dataset import paths, quarantine
from pneumo.dataset.manifest import GroupedBy, IdSource, Manifest
from pneumo.dataset.options import BuildOptions
from pneumo.dataset.paths import Split
from pneumo.dataset.patients import count_patients
from pneumo.dataset.plan import ANOTHER_ID, MASK, BuildPlan, directory
from pneumo.dicom import opening
from pneumo.dicom.rejection import Reason
from pneumo.masks import csv_rows
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted, list_some

_GROUPED_BY: dict[GroupedBy, str] = {
    "patients csv": "by the patients CSV",
    "dicom": "by PatientID",
    "none": "each image counts as one",
}
_PATIENT_FLAGS = (
    "; where PatientID does not tell patients apart, give --patients, or --ignore-patient-id to count each image as a "
    "patient"
)
_ID_NAMES: dict[IdSource, str] = {"uid": "SOPInstanceUIDs", "file-name": "file names"}
_OTHER: dict[IdSource, IdSource] = {"uid": "file-name", "file-name": "uid"}


class NothingToBuildError(UserError):
    """No file of a split is an image that can be used; the lists have the reasons."""


def log_plan(plan: BuildPlan, options: BuildOptions) -> None:
    """Log what the user should know about the input before the work begins."""
    if unlisted := sum(item.found == opening.UNLISTED_DIRECTORY for item in plan.quarantined):
        log.warning(
            "%s cannot be listed: each counts as one file, however many are in it",
            counted(unlisted, "directory", "directories"),
        )
    _log_left_out(plan)
    if plan.unlabeled and plan.keeps_unlabeled:
        log.info(
            "unlabeled images, for --pseudo-labels.share and --consistency.images of job/train.py: %s",
            counted(len(plan.unlabeled), "file"),
        )
    elif plan.unlabeled:
        log.warning(
            "%s: unlabeled is not negative",
            counted(
                len(plan.unlabeled),
                "file has no row in the masks CSV and is left out",
                "files have no row in the masks CSV and are left out",
            ),
        )
    if plan.named_otherwise:
        log.warning("%s", _describe_other_ids(plan))
    elif duplicates := sum(item.reason == Reason.DUPLICATE for item in plan.quarantined):
        log.warning(
            "quarantined, since they differ from another file with the same id: %s%s",
            counted(duplicates, "file"),
            "; --id file-name tells them apart, if the ids are the files' names"
            if any(item.action == ANOTHER_ID for item in plan.quarantined)
            else "",
        )
    if named_by_path := _describe_paths(plan):
        log.warning("%s", named_by_path)
    if plan.missing:
        missing = counted(len(plan.missing), "id of the masks CSV has", "ids of the masks CSV have")
        log.warning("%s no file, first %s", missing, plan.missing[0])
    samples = [sample for shard in plan.shards for sample in shard.samples]
    train, test = ({item.image_id for item in samples if item.source.split == split} for split in ("train", "test"))
    if both := len(train & test):
        images = counted(both, "test image is a training image", "test images are training images")
        log.warning("%s too: the metrics on them will be too good", images)
    if plan.pictures:
        log.warning(
            "%s, without a header: patients, views and pixel spacing are unknown, and it is taken for granted that "
            "each shows a frontal chest X-ray with dense tissue in white",
            counted(plan.pictures, "image is a PNG or JPEG file", "images are PNG or JPEG files"),
        )
    if plan.renamed:
        files = counted(plan.renamed, "file is not named after its", "files are not named after their")
        log.info("%s image id (SOPInstanceUID), which is what counts", files)
    _log_patients(plan, options.num_folds)
    if plan.shards and quarantine.exceeds(len(plan.quarantined), plan.found, options.max_quarantined):
        log.warning(
            "%d of %s quarantined by the header alone (%s): with --max-quarantined %g the dataset will "
            "not be published",
            len(plan.quarantined), counted(plan.found, "file"), quarantine.format_counts(_count_reasons(plan)),
            options.max_quarantined,
        )  # fmt: skip


def _log_left_out(plan: BuildPlan) -> None:
    exclusions = Counter(item.exclusion for item in plan.left_out)
    if masks := exclusions.pop(MASK, 0):
        places = dict.fromkeys(directory(item) for item in plan.left_out if item.exclusion == MASK)
        log.warning(
            "left out: %s, black but for one other level; %s lists them; give the directory of the images alone "
            "(directories of masks: %s)",
            counted(masks, "picture is a mask", "pictures are masks"), paths.LEFT_OUT, list_some(places),
        )  # fmt: skip
    if exclusions:
        log.warning(
            "left out: %s (%s); %s lists them, --include-non-frontal takes them",
            counted(exclusions.total(), "image is no frontal chest X-ray", "images are no frontal chest X-rays"),
            quarantine.format_counts(exclusions), paths.LEFT_OUT,
        )  # fmt: skip


def _log_patients(plan: BuildPlan, folds: int) -> None:
    """Warn when patients may be divided between folds, or when one has more images than a fold."""
    patients = plan.training_patients
    largest = int(np.bincount(patients[patients >= 0]).max(initial=0))
    # With an image each, more folds than patients are refused.
    if largest > 1 and largest * folds > len(patients):
        log.warning(
            "%d of %s are of one patient (%s), more than one of %d folds can hold evenly%s",
            largest, counted(len(patients), "training image"), _GROUPED_BY[plan.grouped_by], folds,
            _PATIENT_FLAGS if plan.grouped_by == "dicom" else "",
        )  # fmt: skip
    if plan.grouped_by == "patients csv":
        if unknown := int((patients < 0).sum()):
            images = counted(unknown, "training image has", "training images have")
            log.warning("%s no row in the patients CSV; each counts as a patient", images)
    elif len(patients) and count_patients(patients) == len(patients):
        log.warning(
            "no patients CSV, and %s: folds may leak, that is, have images of one patient in training and validation",
            "PatientID is missing or not used"
            if plan.grouped_by == "none"
            else "no two training images share a PatientID",
        )
    elif len(patients):
        log.warning("no patients CSV: patients are distinguished by PatientID; folds leak where that is not reliable")
    if unknown := int((plan.unlabeled_patients < 0).sum()):
        log.warning(
            "%s: a fold may learn from images of the patients who score it; %s",
            counted(unknown, "unlabeled image is of an unknown patient", "unlabeled images are of unknown patients"),
            "give --patients a row for each unlabeled image",
        )


def summary(out: Path, manifest: Manifest) -> str:
    """Return the closing lines of a build: where every file went, and what the dataset holds."""
    held = []
    if manifest.train:
        held.append(
            f"{counted(manifest.train, 'training image')}: {manifest.positive} positive,"
            f" {counted(manifest.patients, 'patient')} ({_GROUPED_BY[manifest.grouped_by]}), {manifest.num_folds} folds"
        )
    if manifest.test:
        held.append(counted(manifest.test, "test image"))
    if manifest.unlabeled_samples:
        held.append(counted(manifest.unlabeled_samples, "unlabeled image") + " kept")
    held.append(counted(manifest.shards, "shard"))
    if manifest.missing:
        held.append(f"{counted(manifest.missing, 'id')} of the masks CSV without a file")
    return (
        f"{counted(manifest.found, 'file')} found = {counted(manifest.samples, 'sample')}"
        f" + {manifest.quarantined} quarantined + {manifest.left_out} left out + {manifest.unlabeled} unlabeled"
        f" + {manifest.merged_duplicates} merged duplicates\n"
        f"{'; '.join(held)}\ndataset: {out}\n"
    )


def check_patients(plan: BuildPlan, folds: int) -> None:
    """Check that the training images are of patients enough for the folds.

    Raises:
        UserError: When they are not, with the flag that helps.
    """
    patients = plan.training_patients
    number = count_patients(patients)
    if plan.grouped_by == "patients csv" and len(patients) and (patients < 0).all():
        raise UserError(
            f"the patients CSV has no row for any of {counted(len(patients), 'training image')}",
            f"the images' {_ID_NAMES[plan.id_source]} in its column {csv_rows.ID}",
            "check --patients, or leave it out",
        )
    if plan.grouped_by == "patients csv" and number < folds <= len(patients):
        raise UserError(
            f"--num-folds {folds}, and the patients CSV names {counted(number, 'patient')} for {len(patients)} training"
            " images",
            "a patient or more for each fold",
            f"check the column {csv_rows.PATIENT} of --patients" + (", or lower --num-folds" if number > 1 else ""),
        )
    if plan.grouped_by == "dicom" and number < folds <= len(patients):
        raise UserError(
            f"--num-folds {folds}, and {counted(number, 'PatientID')} in {len(patients)} training images",
            "a patient or more for each fold",
            ("lower --num-folds" if number > 1 else "add images of other patients") + _PATIENT_FLAGS,
        )
    fold_assignment.check_number(folds, number)


def nothing_to_build(out: Path, plan: BuildPlan, split: Split) -> NothingToBuildError:
    """Return the error of an input without a single sample for a split, whose lists are written."""
    reasons = _count_reasons(plan, split)
    reasons.update(item.exclusion for item in plan.left_out if item.source.split == split)
    if split == "train" and plan.unlabeled:
        reasons["no row in the masks CSV"] = len(plan.unlabeled)
    counts = f" ({quarantine.format_counts(reasons)})" if reasons else ""
    found = f"no usable image in {counted(plan.found_in.get(split, 0), 'file')}{counts}"
    lists = quarantine.describe_lists(out, split)
    and_see = f", and {lists}" if lists else ""
    if split == "test":
        return NothingToBuildError(found, "images to predict", f"check the directory of the test images{and_see}")
    expected = "images with a row in the masks CSV"
    if plan.named_otherwise:
        return NothingToBuildError(found, expected, _describe_other_ids(plan))
    if named_by_path := _describe_paths(plan):
        return NothingToBuildError(found, expected, named_by_path)
    # Side by side, so that a difference in form is seen.
    ids = (
        f" (an id of the masks CSV: {plan.missing[0]}; of a file: {plan.unlabeled[0].image_id})"
        if plan.missing and plan.unlabeled
        else ""
    )
    return NothingToBuildError(found, expected + ids, f"check --dicom and --masks{and_see}")


def _describe_other_ids(plan: BuildPlan) -> str:
    other = _OTHER[plan.id_source]
    files = counted(plan.named_otherwise, "unused file is", "unused files are")
    return (
        f"{files} in the masks CSV by their {_ID_NAMES[other]}, not by their {_ID_NAMES[plan.id_source]}: give --id "
        f"{other}"
    )


def _describe_paths(plan: BuildPlan) -> str:
    """Return what to do about ids of the masks CSV that are unused files' ids after a directory; "" without any."""
    unused = {item.image_id for item in plan.unlabeled}
    # A file's id without a directory is no id of the CSV, or the file would not be unused.
    paths_of_files = [image_id for image_id in plan.missing if ntpath.basename(image_id) in unused]
    if not paths_of_files:
        return ""
    return (
        "ids of the masks CSV that begin with a directory, and would have a file without it: "
        f"{list_some(paths_of_files)}; remove the directories from the column {csv_rows.ID}"
    )


def writer_died(shard: str, attempts: int) -> UserError:
    """Return the error of a shard whose process dies although each of its files can be read alone."""
    return UserError(
        f"the process that wrote {shard} died {attempts} times, although each of its files can be read alone",
        "enough memory for all workers",
        "try fewer workers; the same command resumes from the shards that are finished",
    )


def _count_reasons(plan: BuildPlan, split: Split | None = None) -> Counter[str]:
    """Count the reasons of the quarantined files, of one split if given."""
    return Counter(str(item.reason) for item in plan.quarantined if split in (None, item.split))
