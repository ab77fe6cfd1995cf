"""Patients with several images, and those who are where they should not be: in two folds, or in both splits."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.dataset.table import SampleTable


@dataclass(frozen=True, eq=False, kw_only=True)
class Patients:
    """What is known of the patients."""

    images: npt.NDArray[np.int64]
    """(patients,) images of each known patient in either split."""
    mixed: int
    """Patients with labeled images of both kinds, with and without a pneumothorax."""
    unknown: int
    """Labeled images of unknown patients."""
    across_folds: int
    """Patients whose training images are in more than one fold."""
    across_splits: int
    """Patients with training images and test images."""
    shared_test: int
    """Test images of these."""

    @property
    def several(self) -> int:
        """Return the number of patients with more than one image."""
        return int((self.images > 1).sum())


def count(table: SampleTable) -> Patients:
    """Count the patients of a dataset."""
    known = table.patient >= 0
    train, test = known & (table.split == "train"), known & (table.split == "test")
    _, images = np.unique(table.patient[known], return_counts=True)
    folds = np.unique(np.stack([table.patient[train], table.fold[train]]), axis=1)[0]
    shared = np.intersect1d(table.patient[train], table.patient[test])
    return Patients(
        images=images.astype(np.int64),
        mixed=len(np.intersect1d(table.patient[train & table.positive], table.patient[train & ~table.positive])),
        unknown=int((~known & (table.split == "train")).sum()),
        across_folds=int((np.unique(folds, return_counts=True)[1] > 1).sum()),
        across_splits=len(shared),
        shared_test=int(np.isin(table.patient[test], shared).sum()),
    )
