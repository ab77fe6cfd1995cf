"""The folds beside each other: they should differ by chance alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.dataset.patients import count_patients
from pneumo.dataset.table import SampleTable
from pneumo.dataset.table_columns import Strings
from pneumo.reporting.explore.groups import GroupRate


@dataclass(frozen=True, kw_only=True)
class FoldSummary:
    """One fold."""

    rate: GroupRate
    """Its images and those with a pneumothorax."""
    patients: int
    """An image of an unknown patient is a patient by itself."""
    median_area: float
    """Of the positive images' masks, as a share of the image; NaN without one."""
    median_age: float
    """In years; NaN when no age is known."""
    female: float
    """Share of the images whose sex is known; NaN when none is."""
    ap: float
    """Share of AP views of the images whose view is known; NaN when none is."""


def summarize(table: SampleTable) -> list[FoldSummary]:
    """Summarize each fold with images, in order."""
    return [_summarize(table, fold) for fold in np.unique(table.fold[table.select("train")]).tolist()]


def _summarize(table: SampleTable, fold: int) -> FoldSummary:
    rows = table.select("train", [fold])
    positive = rows[table.positive[rows]]
    pixels = table.rows[positive].astype(np.int64) * table.columns[positive]
    ages = table.age_years[rows]
    return FoldSummary(
        rate=GroupRate(name=f"fold {fold}", images=len(rows), positives=len(positive)),
        patients=count_patients(table.patient[rows]),
        median_area=_median(table.mask_area[positive] / pixels),
        median_age=_median(ages[ages >= 0].astype(np.float64)),
        female=_share(table.sex[rows], "F"),
        ap=_share(table.view[rows], "AP"),
    )


def _median(values: npt.NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _share(values: Strings, wanted: str) -> float:
    known = values[values != ""]
    return float((known == wanted).mean()) if len(known) else float("nan")
