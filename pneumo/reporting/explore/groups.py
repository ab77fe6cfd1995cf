"""Groups of images by what is known of them, and how often each group has a pneumothorax."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from pydicom.uid import UID

from pneumo.dataset.bands import UNKNOWN, name_age
from pneumo.dataset.table import SampleTable
from pneumo.dataset.table_columns import Strings

OTHER = "other"
MAX_GROUPS = 12
"""Groups of one attribute; the smaller ones become one, ``OTHER``."""
MIN_GROUP = 30
"""Images of a group from which its rate says something."""


@dataclass(frozen=True, kw_only=True)
class GroupRate:
    """A group's images, and those with a pneumothorax."""

    name: str
    images: int
    positives: int

    @property
    def rate(self) -> float:
        """Return the share with a pneumothorax; NaN for a group without images."""
        return self.positives / self.images if self.images else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the rate."""
        return wilson(self.positives, self.images)


def wilson(positives: int, images: int, *, intervals: int = 1) -> tuple[float, float]:
    """Return the 95 % interval of a rate, also for rates of 0 and 1 and for small groups.

    (Score interval: Wilson, J Am Stat Assoc 22:209, 1927.)

    Args:
        positives: Images with the property.
        images: Images in all; 0 gives the interval from 0 to 1.
        intervals: Intervals that are to be right together in 95 % of cases: each is wider (Bonferroni).
    """
    if not images:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - 0.025 / intervals)
    rate, square = positives / images, z**2
    center = (rate + square / (2 * images)) / (1 + square / images)
    half = z * math.sqrt(rate * (1 - rate) / images + square / (4 * images**2)) / (1 + square / images)
    return max(center - half, 0.0), min(center + half, 1.0)


def by_age(table: SampleTable) -> Strings:
    """Return each image's band of ``AGES``."""
    return np.array([name_age(age) for age in table.age_years.tolist()], np.str_)


def by_spacing(table: SampleTable) -> Strings:
    """Return each image's pixel spacing, row and column if they differ by more than 1 %."""
    rows, columns = table.row_spacing_mm, table.column_spacing_mm
    return np.array(
        [
            UNKNOWN
            if not (math.isfinite(row) and math.isfinite(column))
            else f"{row:.3f} mm"
            if abs(row - column) <= 0.01 * row
            else f"{row:.3f} x {column:.3f} mm"
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ],
        np.str_,
    )


def by_transfer_syntax(table: SampleTable) -> Strings:
    """Return the name of each source file's transfer syntax."""
    names = {uid: UID(uid).name if uid else "PNG or JPEG file" for uid in np.unique(table.transfer_syntax).tolist()}
    return np.array([names[uid] for uid in table.transfer_syntax.tolist()], np.str_)


def _known(column: Strings, names: dict[str, str] | None = None) -> Strings:
    return np.array([(names or {}).get(value, value) or UNKNOWN for value in column.tolist()], np.str_)


ATTRIBUTES: dict[str, Callable[[SampleTable], Strings]] = {
    "Sex": lambda table: _known(table.sex, {"M": "male", "F": "female", "O": "other"}),
    "Age": by_age,
    "View": lambda table: _known(table.view),
    "Modality": lambda table: _known(table.modality),
    "Pixel spacing": by_spacing,
    "Image size": lambda table: np.array(
        [f"{rows} x {columns}" for rows, columns in zip(table.rows, table.columns, strict=True)], np.str_
    ),
    "Transfer syntax": by_transfer_syntax,
    "Gray scale": lambda table: np.where(table.was_monochrome1, "inverted (MONOCHROME1)", "black is 0"),
    "Presentation": lambda table: _known(table.presentation_intent),
}
"""What images are grouped by: a name, and each image's group."""
ORDERED = {"Age", "Pixel spacing", "Image size"}
"""Attributes whose groups have an order of their own; others are sorted by size."""


def merge_small(labels: Strings, most: int = MAX_GROUPS) -> Strings:
    """Return labels (n,) of at most ``most`` groups: when there are more, all but the largest ones are ``OTHER``."""
    counts = Counter(labels.tolist())
    if len(counts) <= most:
        return labels
    kept = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: most - 1]]
    return np.where(np.isin(labels, kept), labels, OTHER)


def rates(labels: Strings, positive: npt.NDArray[np.bool_], *, ordered: bool = False) -> list[GroupRate]:
    """Return the rate of each group: by name if ``ordered``, else the largest group first; unknown ones last.

    Args:
        labels: (n,) group of each image.
        positive: (n,) whether it has a pneumothorax.
        ordered: Sort by the numbers in the names.
    """
    images = Counter(labels.tolist())
    positives = Counter(labels[positive].tolist())
    found = [GroupRate(name=name, images=count, positives=positives[name]) for name, count in images.items()]
    return sorted(
        found, key=lambda one: (one.name in (OTHER, UNKNOWN), _leading(one) if ordered else -one.images, one.name)
    )


def _leading(rate: GroupRate) -> float:
    """Return the number that a group's name begins with, infinity for one without; what is below all comes first."""
    word = rate.name.partition(" ")[0]
    if word == "below":
        return -math.inf
    return float(word) if word.replace(".", "", 1).isdigit() else math.inf
