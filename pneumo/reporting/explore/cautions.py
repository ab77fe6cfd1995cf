"""What a data scientist should know before training on a dataset: each with the figures and what to do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pneumo.dataset import field_of_view
from pneumo.dataset.table import SampleTable
from pneumo.dicom.attributes import AGE_LIMIT
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.groups import MIN_GROUP, OTHER, GroupRate, wilson
from pneumo.reporting.explore.lesions import UNUSUAL, unusual_shares
from pneumo.runtime.errors import counted, list_some

MAX_AREA = 0.25
"""Share of an image; the largest mask of SIIM-ACR covers .15."""
HIGH_AUC = 0.65
"""Of guessing the label by one attribute of the header; a lower one is no caution, even if it is beyond chance."""
MIN_ONE_SIDE = 0.05
"""Share of lesions on one side, below which the masks may be mirrored or shifted. Both lungs are affected about
alike."""
MAX_QUARANTINED = 0.01
"""Share of the files found."""


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something to look into."""

    found: str
    action: str
    see: str = ""
    """Title of the section that shows it; empty where none does."""


def find(analysis: Analysis) -> list[Caution]:
    """Return the cautions, those that make a score worthless first."""
    return [caution for check in _CHECKS for caution in check(analysis)]


def _labels(analysis: Analysis) -> Iterator[Caution]:
    train, positive = len(analysis.train), int(analysis.table.positive.sum())
    if not train:
        yield Caution(
            found="No image has a label.", action="Nothing can be learned or scored: give job/shard.py the masks."
        )
    elif positive in (0, train):
        which = "No" if positive == 0 else "Every"
        yield Caution(found=f"{which} labeled image has a pneumothorax.", action="Check the masks CSV.")


def _damage(analysis: Analysis) -> Iterator[Caution]:
    rows = analysis.damaged.tolist()
    if rows:
        names = list_some([str(analysis.table.image_id[row]) for row in rows])
        yield Caution(
            found=f"Damaged samples: {names}; the first one: {analysis.scanned[rows[0]].damage}.",
            action="They are left out of what follows. Copy the shards again; job/verify.py names all that is damaged.",
        )


def _patients(analysis: Analysis) -> Iterator[Caution]:
    patients, grouped_by = analysis.patients, analysis.manifest.grouped_by
    if len(analysis.train) and (grouped_by == "none" or not len(patients.images)):
        yield Caution(
            found="It is not known which images are of one patient.",
            action="Images of a patient may be in several folds, and the score too good: give job/shard.py --patients.",
            see="Images and patients",
        )
    elif grouped_by == "dicom" and not patients.several and len(analysis.train) >= MIN_GROUP:
        yield Caution(
            found="Every image has a PatientID of its own.",
            action="It may be new for each file, as in SIIM-ACR, and patients be in several folds: give --patients.",
            see="Images and patients",
        )
    elif len(analysis.train) and patients.unknown:
        yield Caution(
            found=f"{counted(patients.unknown, 'labeled image')} of unknown patients.",
            action="Each counts as a patient by itself; complete the patients CSV if it can be.",
            see="Images and patients",
        )
    if patients.across_folds:
        yield Caution(
            found=f"{counted(patients.across_folds, 'patient has', 'patients have')} images in more than one fold.",
            action="A network is then tested on patients that it was trained on: assign the folds again.",
            see="Images and patients",
        )
    if patients.across_splits:
        yield Caution(
            found=f"{counted(patients.shared_test, 'test image is', 'test images are')} of "
            f"{counted(patients.across_splits, 'patient')} with training images.",
            action="A score on the test images is too good for new patients. Out-of-fold scores are not affected.",
            see="Images and patients",
        )


def _duplicates(analysis: Analysis) -> Iterator[Caution]:
    kinds = (
        (
            "across_labels",
            "labeled with and without a pneumothorax",
            "One of the two labels is wrong: look at each pair.",
        ),
        ("across_folds", "in two folds", "The score is too good: give these images one patient in the patients CSV."),
        ("across_splits", "of a training and a test image", "The score on the test images is too good."),
        (
            "of_unlabeled",
            "of an unlabeled image and another one",
            "Copies of equal bytes are never trained on. Give others the patient of the labeled image in the patients "
            "CSV: then no fold that validates on it learns from them.",
        ),
    )
    for name, where, action in kinds:
        number = sum(getattr(pair, name) for pair in analysis.duplicates.pairs)
        if number:
            yield Caution(found=f"{counted(number, 'pair')} of duplicates {where}.", action=action, see="Duplicates")


def _shortcuts(analysis: Analysis) -> Iterator[Caution]:
    rows = analysis.train
    whole = GroupRate(name="", images=len(rows), positives=int(analysis.table.positive[rows].sum()))
    for one in analysis.groupings:
        if one.auc >= HIGH_AUC and one.auc > one.chance:
            yield Caution(
                found=f"{one.attribute} alone tells who has a pneumothorax with an area under the ROC curve of "
                f"{one.auc:.2f}; shuffled labels give at most {one.chance:.2f}.",
                action="A network may learn it in place of the lung: compare scores within each group.",
                see="Groups of images",
            )
        else:
            yield from _extreme_groups(one.attribute, one.rates, whole)


def _extreme_groups(attribute: str, groups: Sequence[GroupRate], whole: GroupRate) -> Iterator[Caution]:
    """Yield groups whose rate is, by its whole interval, over twice or under half of that of all images."""
    for one in groups:
        low, high = one.interval
        if one.images >= MIN_GROUP and one.name != OTHER and (low > 2 * whole.rate or high < whole.rate / 2):
            yield Caution(
                found=f"{attribute} {one.name}: {100 * one.rate:.1f} % of {one.images:,} images have a pneumothorax, "
                f"of all images {100 * whole.rate:.1f} %.",
                action="A network may learn to recognize this group in place of the lung.",
                see="Groups of images",
            )


def _folds(analysis: Analysis) -> Iterator[Caution]:
    """Yield folds whose rate differs from that of all by more than chance: random folds have one in 1 of 20 datasets.

    The intervals of all folds are to hold the rate together, so that each is the wider, the more folds there are.
    """
    total = GroupRate(name="", images=len(analysis.train), positives=int(analysis.table.positive[analysis.train].sum()))
    for fold in analysis.folds:
        low, high = wilson(fold.rate.positives, fold.rate.images, intervals=len(analysis.folds))
        if not low <= total.rate <= high:
            yield Caution(
                found=f"In {fold.rate.name} {100 * fold.rate.rate:.1f} % of the images have a pneumothorax, in all "
                f"{100 * total.rate:.1f} %.",
                action="Their scores differ for this reason alone; patients with many images can make it unavoidable.",
                see="Folds",
            )


def _ages(analysis: Analysis) -> Iterator[Caution]:
    ages = analysis.table.age_years
    unknown, newborn = int((ages < 0).sum()), int((ages == 0).sum())
    if 0 < unknown < len(ages):
        yield Caution(
            found=f"{counted(unknown, 'image')} without an age: it is missing, or implausible, over {AGE_LIMIT} years.",
            action="Ages of 148 and 413 years occur in SIIM-ACR. Look into the DICOMs if you need them.",
            see="Groups of images",
        )
    if newborn:
        yield Caution(
            found=f"{counted(newborn, 'image')} of patients of 0 years.",
            action="They are infants, whose chests look different, or nobody entered an age.",
            see="Groups of images",
        )


def _places(analysis: Analysis) -> Iterator[Caution]:
    table, rows, lesions = analysis.table, analysis.measured, analysis.lesions
    unusual = rows[unusual_shares(lesions) > UNUSUAL]
    if len(unusual):
        yield Caution(
            found=f"Masks of which more than half is where hardly another one is: {_name(table, unusual.tolist())}.",
            action="Look at them: another place, or another image's mask.",
            see="Lesions",
        )
    large = [row for row, one in zip(rows.tolist(), lesions, strict=True) if one.area > MAX_AREA]
    if large:
        yield Caution(
            found=f"Masks of more than {100 * MAX_AREA:.0f} % of the image: {_name(table, large)}.",
            action="A lung takes about that much: the mask may be inverted, or another image's.",
            see="Lesions",
        )
    sides = [one.side for one in lesions if one.side != "both"]
    if len(sides) >= MIN_GROUP:
        share = sides.count("left") / len(sides)
        if min(share, 1 - share) < MIN_ONE_SIDE:
            side = "left" if share > 0.5 else "right"
            yield Caution(
                found=f"{100 * max(share, 1 - share):.0f} % of the lesions are on the {side} side of the picture.",
                action="Both lungs are affected about alike: the masks may be mirrored or in row-major order.",
                see="Lesions",
            )


def _files(analysis: Analysis) -> Iterator[Caution]:
    found, quarantined = analysis.manifest.found, analysis.manifest.quarantined
    if found and quarantined > MAX_QUARANTINED * found:
        yield Caution(
            found=f"{quarantined:,} of {found:,} files ({100 * quarantined / found:.1f} %) are quarantined.",
            action="See what is missing at the end of this page, and quarantine.csv.",
            see="What is not in the dataset",
        )
    if analysis.manifest.missing:
        yield Caution(
            found=f"{counted(analysis.manifest.missing, 'image')} of the masks CSV without a file.",
            action="Files may be missing from the download: see unmatched.csv.",
            see="What is not in the dataset",
        )


def _name(table: SampleTable, rows: list[int]) -> str:
    return list_some([str(table.image_id[row]) for row in rows])


def _spacings(analysis: Analysis) -> Iterator[Caution]:
    table = analysis.table
    rows = np.flatnonzero(field_of_view.is_too_small(table))
    if len(rows):
        sides = field_of_view.longer_side_mm(table)[rows] / 10
        yield Caution(
            found=f"By their pixel spacing {counted(len(rows), 'image')} would be {sides.min():.0f} to "
            f"{sides.max():.0f} cm high, too small for the chests of adults among them.",
            action="The files were probably reduced after the spacing was written, as those of SIIM-ACR were: areas in "
            "cm\u00b2 and mm\u00b2 are left out, here and in predictions.",
            see="Lesions",
        )


_CHECKS: tuple[Callable[[Analysis], Iterator[Caution]], ...] = (
    *(_labels, _damage, _patients, _duplicates, _shortcuts, _places, _folds, _ages, _spacings, _files),
)
"""In the order of the page."""
