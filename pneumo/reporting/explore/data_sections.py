"""The sections on images, patients, groups, folds, and on what is not in the dataset."""

import math

import numpy as np
from markupsafe import Markup

from pneumo.dicom.attributes import AGE_CAP
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.clinical import cite
from pneumo.reporting.explore.groups import MAX_GROUPS, GroupRate
from pneumo.reporting.explore.shortcuts import SHUFFLES, Grouping
from pneumo.reporting.html import charts
from pneumo.reporting.html.chart import Chart
from pneumo.reporting.html.page import (
    Block,
    Cell,
    Column,
    Details,
    Facts,
    Figure,
    Figures,
    Heading,
    Points,
    Prose,
    Section,
    Table,
)
from pneumo.reporting.html.words import UNDEFINED, percent
from pneumo.runtime.errors import counted

MAX_ODDITIES = 40
"""Lines of the list of oddities."""


def rate_text(rate: GroupRate) -> str:
    """Return a rate with its interval, such as ``22.1 % (21.4 to 22.9)``."""
    if not rate.images:
        return UNDEFINED
    low, high = rate.interval
    return f"{100 * rate.rate:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def counts(analysis: Analysis) -> Section:
    """Return the section on images and patients."""
    manifest, patients = analysis.manifest, analysis.patients
    positives = int(analysis.table.positive.sum())
    facts: list[tuple[Cell, str]] = [
        (len(analysis.train), "labeled images"),
        (positives, "of them with a pneumothorax"),
        _share(positives, len(analysis.train)),
        (manifest.test, "test images, without a label"),
        (len(patients.images), "known patients"),
        (patients.several, "patients with several images"),
        (manifest.quarantined, "files in quarantine"),
    ]
    if manifest.unlabeled_samples:
        facts.insert(4, (manifest.unlabeled_samples, "unlabeled images, for training alone"))
    if positives:
        areas = analysis.table.mask_area[analysis.table.positive]
        pixels = (
            analysis.table.rows.astype(np.int64)[analysis.table.positive]
            * analysis.table.columns[analysis.table.positive]
        )
        facts.append((percent(float(areas.sum() / pixels.sum())), "of the pixels of all positive images are in masks"))
    return Section(title="Images and patients", blocks=[Facts(items=facts), *_patient_blocks(analysis)])


def _share(positives: int, images: int) -> tuple[Cell, str]:
    rate = GroupRate(name="", images=images, positives=positives)
    low, high = rate.interval
    return percent(rate.rate), f"of the labeled images (95 % interval: {100 * low:.1f} to {100 * high:.1f} %)"


def _patient_blocks(analysis: Analysis) -> list[Block]:
    patients = analysis.patients
    source = {"patients csv": "a patients CSV", "dicom": "the DICOMs' PatientID"}.get(analysis.manifest.grouped_by)
    if source is None or not len(patients.images):
        return [Prose(paragraphs=["It is not known which images are of one patient: each counts as a patient."])]
    bands = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, None))
    names = ["1 image", "2", "3 to 5", "6 to 10", "11 to 20", "21 or more"]
    numbers = [
        int(((patients.images >= low) & (patients.images <= (high or patients.images.max()))).sum())
        for low, high in bands
    ]
    chart = charts.bars(
        names,
        numbers,
        description="Patients by their number of images: "
        + ", ".join(f"{name}: {number}" for name, number in zip(names, numbers, strict=True)),
        x_label="patients",
    )
    several = counted(patients.several, "patient has", "patients have")
    mixed = counted(patients.mixed, "patient has", "patients have")
    text = (
        f"Patients are known from {source}. {several} more than one image, the most {int(patients.images.max())}; "
        f"{mixed} labeled images with and without a pneumothorax. All images of a patient have to be in one fold: a "
        "network that has seen a patient knows the next image of the same chest."
    )
    return [
        Prose(paragraphs=[text]),
        Figures(items=[Figure(content=chart, caption="Patients by their number of images.")]),
    ]


def groups(analysis: Analysis) -> Section:
    """Return the section on the header's attributes, and how often each group has a pneumothorax."""
    train = analysis.train
    whole = GroupRate(name="all", images=len(train), positives=int(analysis.table.positive[train].sum()))
    figures: list[Figure] = []
    rows: list[list[Cell]] = []
    unknown: list[str] = []
    figures += _ages(analysis)
    for one in analysis.groupings:
        if not one.known:
            unknown.append(one.attribute.lower())
            continue
        if len(one.rates) > 1:
            figures.append(Figure(content=_rates_chart(one, whole), caption=_rates_caption(one)))
        rows += _rows(one)
    columns = [Column(title="Group"), *(Column(title=t, numeric=True) for t in _GROUP_COLUMNS)]
    caption = (
        "Labeled images and test images by group; the share with a pneumothorax with its 95 % interval, in percent."
    )
    text = [_GROUP_TEXT.format(cite("wilson"), cite("zech")), _AREA_TEXT]
    blocks: list[Block] = [Prose(paragraphs=text)]
    if figures:
        blocks.append(Figures(items=figures))
    if rows:
        blocks.append(Table(caption=caption, columns=columns, rows=rows))
    if unknown:
        blocks.append(Prose(paragraphs=[f"Not known of any image: {', '.join(unknown)}."]))
    return Section(title="Groups of images", blocks=blocks)


_GROUP_COLUMNS = ("Labeled", "With a pneumothorax", "Share (95 % interval)", "Test images")
_GROUP_TEXT = Markup(
    "What the headers say of the images, and how often each group has a pneumothorax. Intervals are Wilson's {}; they "
    "treat images as independent, and are too narrow where patients have many. A group with far more positives than "
    "others is a shortcut: in a study of pneumonia, knowing the hospital alone told the label with an area under the "
    "ROC curve of .86, and networks learned it {}. The machine is not among what a dataset keeps; pixel spacing, image "
    "size and transfer syntax often stand for it."
)

_AREA_TEXT = (
    "The area under the ROC curve is that of guessing the label of each labeled image by the share of its group as it "
    f"is shown here, where all but the {MAX_GROUPS - 1} largest groups are one. It is computed on the same images, so "
    "that it is above 0.5 even where an attribute tells nothing, and the more so the fewer images there are. The area "
    f"with shuffled labels is the largest one of {SHUFFLES} shuffles, in which the labels of a patient stay together: "
    "an attribute whose area is not above it may tell nothing."
)


def _ages(analysis: Analysis) -> list[Figure]:
    """Return the histogram of ages of labeled images with and without a pneumothorax; none when no age is known."""
    positive = analysis.table.positive[analysis.train]
    ages = analysis.table.age_years[analysis.train].astype(np.float64)
    known = ages >= 0
    if not known.any():
        return []
    chart = charts.histogram(
        [("pneumothorax", ages[known & positive]), ("none", ages[known & ~positive])],
        np.arange(0.0, AGE_CAP + 11, 5),
        description=f"Histogram of the ages of {known.sum()} labeled images, median {np.median(ages[known]):.0f} years",
        x_label=f"age in years ({AGE_CAP}: {AGE_CAP} or more)",
    )
    return [Figure(content=chart, caption="Ages of the labeled images, with and without a pneumothorax.")]


def _rows(grouping: Grouping) -> list[list[Cell]]:
    """Return a row for each group, the ones without a labeled image last."""
    labeled = {one.name for one in grouping.rates}
    tested = [GroupRate(name=name, images=0, positives=0) for name in sorted(set(grouping.tested) - labeled)]
    return [
        [
            *(f"{grouping.attribute}: {one.name}", one.images, one.positives, rate_text(one)),
            grouping.tested.get(one.name, 0),
        ]
        for one in [*grouping.rates, *tested]
    ]


def _rates_chart(grouping: Grouping, whole: GroupRate) -> Chart:
    estimates = [
        charts.Estimate(
            name=one.name, value=one.rate, low=one.interval[0], high=one.interval[1], note=f"n = {one.images:,}"
        )
        for one in grouping.rates
    ]
    described = "; ".join(f"{one.name}: {rate_text(one)} of {one.images}" for one in grouping.rates)
    return charts.intervals(
        estimates,
        description=f"Share with a pneumothorax by {grouping.attribute.lower()}: {described}",
        x_label="share with a pneumothorax",
        reference=whole.rate,
        reference_name=f"all images, {percent(whole.rate)}",
        percent=True,
    )


def _rates_caption(grouping: Grouping) -> str:
    if math.isnan(grouping.auc):
        return f"{grouping.attribute}."
    return (
        f"{grouping.attribute}. Guessing the label by it has an area under the ROC curve of {grouping.auc:.2f}; with "
        f"shuffled labels at most {grouping.chance:.2f}."
    )


def folds(analysis: Analysis) -> Section:
    """Return the section that compares the folds."""
    titles = ("Images", "Patients", "With a pneumothorax", "Median mask", "Median age", "Female", "AP views")
    rows: list[list[Cell]] = [
        [
            one.rate.name,
            one.rate.images,
            one.patients,
            f"{one.rate.positives:,}: {rate_text(one.rate)}",
            percent(one.median_area, 2),
            UNDEFINED if math.isnan(one.median_age) else f"{one.median_age:.0f}",
            percent(one.female, 0),
            percent(one.ap, 0),
        ]
        for one in analysis.folds
    ]
    text = (
        "Each fold is predicted by the network that was trained on the others. Folds are made of whole patients and "
        "divide empty, small and large masks evenly; what else differs between them, differs by chance."
    )
    blocks: list[Block] = [Prose(paragraphs=[text])]
    if not rows:
        return Section(title="Folds", blocks=[Prose(paragraphs=["No image is labeled, so there are no folds."])])
    columns = [Column(title="Fold"), *(Column(title=title, numeric=True) for title in titles)]
    caption = (
        "The folds. With a pneumothorax: number, share and its 95 % interval. Median mask: of the positive images, as "
        "a share of the image. Median age in years. Shares are of the images of which it is known."
    )
    blocks.append(Table(caption=caption, columns=columns, rows=rows))
    return Section(title="Folds", blocks=blocks)


def missing(analysis: Analysis) -> Section:
    """Return the section on files that became no sample, and on what is odd about the samples."""
    manifest = analysis.manifest
    rows: list[list[Cell]] = [
        ["samples", manifest.samples, "in the dataset"],
        ["quarantined", manifest.quarantined, "quarantine.csv names each file with the reason and what to do"],
        ["left out", manifest.left_out, "no frontal chest X-ray by the header, or a picture of a mask: left_out.csv"],
        ["unlabeled", manifest.unlabeled, "no row in the masks CSV: unmatched.csv"],
        ["merged duplicates", manifest.merged_duplicates, "further copies of the same file"],
        ["found", manifest.found, "files, the sum of the lines above"],
    ]
    columns = [Column(title="Files"), Column(title="Number", numeric=True), Column(title="What they are")]
    blocks: list[Block] = [Table(caption="Every file that was found.", columns=columns, rows=rows)]
    for title, reasons in (("Quarantine by reason", analysis.quarantined), ("Left out by reason", analysis.left_out)):
        if reasons:
            blocks.append(
                Table(
                    caption=f"{title}.",
                    columns=[Column(title="Reason"), Column(title="Files", numeric=True)],
                    rows=[[reason, number] for reason, number in reasons.most_common()],
                )
            )
    blocks.append(Heading(title="Oddities"))
    if analysis.oddities:
        shown = list(analysis.oddities[:MAX_ODDITIES])
        text = "Counted when the dataset was built. These images are in the dataset:"
        blocks += [Prose(paragraphs=[text]), Points(items=shown)]
        if len(analysis.oddities) > MAX_ODDITIES:
            more = [Points(items=list(analysis.oddities[MAX_ODDITIES:]))]
            blocks.append(Details(summary=f"{len(analysis.oddities) - MAX_ODDITIES} more", blocks=more))
    else:
        blocks.append(Prose(paragraphs=["No image is flat, almost black or almost white; no mask is of another size."]))
    return Section(title="What is not in the dataset", blocks=blocks)
