"""Scores of groups of images, such as those of women or of small lesions, each with its interval.

A group's Dice depends on how many of its images are empty: compare it with ``dice_all_empty`` of the same group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pneumo.dataset.bands import AGES, UNKNOWN, Bands, name_age
from pneumo.dataset.patients import number_patients
from pneumo.dataset.table import SampleTable
from pneumo.inference.bootstrap import interval
from pneumo.inference.errors_by_group import rate
from pneumo.inference.histograms import PredictionHistograms, equivalent_area
from pneumo.inference.metrics import Interval95, Scores, summarize
from pneumo.inference.nested import NestedEstimate

SPACINGS = Bands((0.15, 0.18), "mm")
"""Of the distance of pixel rows."""
LESIONS = Bands((2_000, 8_000, 32_000), "px")
"""Of the true mask's area, in pixels of a 1024x1024 image."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """What divides n images into groups."""

    values: list[str]
    """The group of each image; an image with an empty name is in none."""
    order: list[str]
    """The groups in the order to show; those without an image are left out."""


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """The scores of the images of one group."""

    name: str
    """Such as ``F`` or ``40 to below 60 years``."""
    images: int
    positives: int
    patients: int
    dice_all_empty: float
    """Dice of calling every image empty."""
    scores: Scores
    dice_interval: Interval95
    sensitivity_interval: Interval95 | None = None
    """None without positive images, as the sensitivity is."""
    specificity_interval: Interval95 | None = None
    """None without empty images."""


def score_subgroups(histograms: PredictionHistograms, nested: NestedEstimate, variable: Variable) -> Iterator[Subgroup]:
    """Yield the scores of each group that has an image.

    Args:
        histograms: Out-of-fold predictions of n images.
        nested: Their scores, each by a rule that was chosen on other images.
        variable: What divides them.
    """
    patients = number_patients(histograms.patient)
    for name in variable.order:
        index = np.flatnonzero(np.asarray(variable.values) == name)
        if not len(index):
            continue
        positive, dice = histograms.positive[index], nested.dice[index]
        called = nested.predicted_positive[index]
        hits = rate(called[positive], patients[index][positive])
        passes = rate(~called[~positive], patients[index][~positive])
        own_patients = np.unique(patients[index], return_inverse=True)[1].astype(np.int64)
        yield Subgroup(
            name=name,
            images=len(index),
            positives=int(positive.sum()),
            patients=int(own_patients.max()) + 1,
            dice_all_empty=float((~positive).mean()),
            scores=Scores(**summarize(positive, dice, called)),
            dice_interval=interval(dice, own_patients),
            sensitivity_interval=None if hits is None else hits.interval,
            specificity_interval=None if passes is None else passes.interval,
        )


def lesion_area(histograms: PredictionHistograms) -> Variable:
    """Divide the positive images by the area of their true masks."""
    areas = equivalent_area(histograms.truth, histograms.pixels).tolist()
    return Variable(values=[LESIONS.name(area) if area > 0 else "" for area in areas], order=LESIONS.names)


def table_variables(table: SampleTable, image_ids: Sequence[str]) -> dict[str, Variable]:
    """Divide training images by what their DICOM files say: sex, age, view and pixel spacing.

    Raises:
        KeyError: When the table does not have one of them.
    """
    row_of = {str(table.image_id[row]): row for row in table.select("train").tolist()}
    rows = [row_of[image_id] for image_id in image_ids]
    ages, spacings = table.age_years[rows].tolist(), table.row_spacing_mm[rows].tolist()
    return {
        "sex": _categories(table.sex[rows].tolist()),
        "age": Variable(values=[name_age(age) for age in ages], order=[*AGES.names, UNKNOWN]),
        "view": _categories(table.view[rows].tolist()),
        "pixel spacing": Variable(
            values=[UNKNOWN if np.isnan(spacing) else SPACINGS.name(spacing) for spacing in spacings],
            order=[*SPACINGS.names, UNKNOWN],
        ),
    }


def _categories(values: list[str]) -> Variable:
    return Variable(values=[value or UNKNOWN for value in values], order=[*sorted(set(values) - {""}), UNKNOWN])
