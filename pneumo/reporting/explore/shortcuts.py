"""How well each attribute alone tells an image's label, beside how well it would by chance."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.dataset.bands import UNKNOWN
from pneumo.dataset.patients import number_patients
from pneumo.dataset.table import SampleTable
from pneumo.reporting.explore.groups import ATTRIBUTES, ORDERED, GroupRate, merge_small, rates

SHUFFLES = 200
"""The largest area of so many shuffles is exceeded by chance in 1 of 201 datasets for each attribute: for all of
``ATTRIBUTES`` together in about 1 of 20."""
_ALIKE = 20
"""Patients, of the most similar numbers of images, among which labels are shuffled."""

Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The images of a dataset, divided by an attribute."""

    attribute: str
    """Key of ``ATTRIBUTES``."""
    rates: Sequence[GroupRate]
    """Of the labeled images, in the order of the page; at most ``MAX_GROUPS``."""
    tested: Mapping[str, int]
    """Test images by group."""
    auc: float
    """Of guessing each labeled image's label by the rate of its group, on the same images: .5 to 1; NaN without
    positive or without negative images."""
    chance: float
    """The largest ``auc`` of ``SHUFFLES`` shuffles of the labels: .5 to 1, and more the more groups and the fewer
    images there are; NaN as above."""

    @property
    def known(self) -> bool:
        """Return whether anything is known of the attribute."""
        return bool({*(one.name for one in self.rates), *self.tested} - {UNKNOWN})


def find(table: SampleTable) -> list[Grouping]:
    """Divide the images by each attribute, in the order of ``ATTRIBUTES``."""
    train, test = table.select("train"), table.select("test")
    positive = table.positive[train]
    shuffled = shuffle(positive, number_patients(table.patient[train]))
    found = []
    for attribute, label in ATTRIBUTES.items():
        labels = merge_small(label(table))
        names, group = np.unique(labels[train], return_inverse=True)
        images = np.bincount(group, minlength=len(names))
        areas = [area(images, np.bincount(group[drawn], minlength=len(names))) for drawn in [positive, *shuffled]]
        found.append(
            Grouping(
                attribute=attribute,
                rates=rates(labels[train], positive, ordered=attribute in ORDERED),
                tested=Counter(labels[test].tolist()),
                auc=areas[0],
                chance=float(np.fmax.reduce(areas[1:])),
            )
        )
    return found


def area(images: npt.NDArray[np.int64], positives: npt.NDArray[np.int64]) -> float:
    """Return the area under the ROC curve of guessing an image's label by the rate of its group, on the same images.

    The probability that a random positive image is of a group with a higher rate than a random negative one, ties
    counted half.

    Args:
        images: (g,) images of each group, 1 or more.
        positives: (g,) positive ones.

    Returns:
        .5 to 1; NaN without positive or without negative images.
    """
    order = np.argsort(positives / images)
    positive, negative = positives[order], (images - positives)[order]
    pairs = int(positive.sum()) * int(negative.sum())
    if not pairs:
        return math.nan
    return float(positive @ (np.cumsum(negative) - negative / 2)) / pairs


def shuffle(positive: Labels, patients: npt.NDArray[np.int64]) -> Labels:
    """Return labels shuffled among the images, so that those of a patient stay together.

    The images of a patient are alike in label and attributes: shuffled one by one, they would give too small areas.
    Each patient gets the labels of another one with about as many images, from a random one on, in a circle. Where each
    has one image, this is a permutation of the labels.

    Args:
        positive: (n,) label of each image.
        patients: (n,) number of each image's patient, from 0 without gaps.

    Returns:
        (``SHUFFLES``, n), the same for the same arguments.
    """
    rng = np.random.default_rng(0)
    by_patient = np.argsort(patients, kind="stable")
    sizes = np.bincount(patients)
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(positive)) - np.repeat(starts, sizes)
    alike = np.arange(len(sizes)) // _ALIKE
    shuffled = np.empty((SHUFFLES, len(positive)), np.bool_)
    for one in shuffled:
        ranked = np.lexsort((rng.random(len(sizes)), sizes))
        source = np.empty_like(ranked)
        source[ranked] = ranked[np.lexsort((rng.random(len(sizes)), alike))]
        first = rng.integers(0, sizes[source])
        own = np.repeat(source, sizes)
        one[by_patient] = positive[by_patient[starts[own] + (place + np.repeat(first, sizes)) % sizes[own]]]
    return shuffled
