"""Folds: patients stay together, and empty, small and large pneumothoraces are divided evenly among the folds."""

import hashlib
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pneumo.dataset.patients import number_patients
from pneumo.runtime.console import log
from pneumo.runtime.ranges import MAX_FOLDS

_QUARTILES = (0.25, 0.5, 0.75)


def assign(area: npt.NDArray[np.int64], groups: npt.NDArray[np.int32], folds: int, seed: int) -> npt.NDArray[np.int8]:
    """Return the fold of each image.

    Folds are stratified by mask area (see ``strata``). With fewer patients than folds, each patient is a fold and the
    last folds stay empty, with a warning.

    Args:
        area: (n,) pixels of each mask, 0 or more.
        groups: (n,) patient group of each image; -1 is an unknown patient, who is a group by itself.
        folds: Number of folds, 2 to ``MAX_FOLDS``.
        seed: Seed of the shuffle that comes before the assignment.

    Returns:
        (n,) numbers from 0 to folds - 1; images of one group have the same.
    """
    assert 2 <= folds <= MAX_FOLDS
    assert len(area) == len(groups)
    numbered = number_patients(groups)
    count = int(numbered.max(initial=-1)) + 1
    if count == 0:  # a dataset of test images only
        return np.zeros(0, np.int8)
    if count < folds:
        log.warning("%d patients for %d folds: folds %d and up stay empty", count, folds, count)
        order = np.random.Generator(np.random.Philox(seed)).permutation(count)
        return order[numbered].astype(np.int8)
    # It takes a second to import, and worker processes and finished datasets do not need it.
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    found = np.full(len(area), -1, np.int8)
    with warnings.catch_warnings():
        # A class with fewer images than there are folds: strata() has logged it.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for fold, (_, validation) in enumerate(splitter.split(area, strata(area, folds), numbered)):
            found[validation] = fold
    assert (found >= 0).all()
    return found


def strata(area: npt.NDArray[np.int64], folds: int) -> npt.NDArray[np.int64]:
    """Return the stratum of each image: 0 for an empty mask, else 1 to 4 by the quartiles of the others' areas.

    With fewer than ``folds`` images in one of them, the quartiles are joined, with a warning.
    """
    positive = area > 0
    edges = np.quantile(area[positive], _QUARTILES) if positive.any() else np.zeros(0)
    quartile = np.where(positive, 1 + np.searchsorted(edges, area, side="left"), 0)
    if np.bincount(quartile)[np.unique(quartile)].min(initial=folds) >= folds:
        return quartile
    log.warning("fewer than %d images of some mask areas: folds are stratified only by empty or not", folds)
    # The splitter refuses when no class reaches every fold.
    joined = positive.astype(np.int64)
    return joined if np.bincount(joined).max(initial=0) >= folds else np.zeros_like(joined)


def digest(image_ids: Sequence[str] | npt.NDArray[np.str_], fold: npt.NDArray[np.int8]) -> str:
    """Return the SHA-256 of the assignment, by which a run checks that the folds are those it was trained on."""
    lines = "".join(f"{image_id}\t{number}\n" for image_id, number in zip(image_ids, fold.tolist(), strict=True))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
