"""Folds: patients stay together, and empty, small and large pneumothoraces are divided evenly among the folds."""

import hashlib
import threading
import warnings
from contextlib import suppress
from importlib import import_module

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pneumo.dataset.patients import count_patients, number_patients
from pneumo.dataset.table_columns import join
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.ranges import MAX_FOLDS

_QUARTILES = (0.25, 0.5, 0.75)
_PIECE = 100_000
"""Lines that are hashed at once: a million of them would take 100 MB."""


def assign(area: npt.NDArray[np.int64], groups: npt.NDArray[np.int32], folds: int, seed: int) -> npt.NDArray[np.int8]:
    """Return the fold of each image.

    Folds are stratified by mask area (see ``strata``).

    Args:
        area: (n,) pixels of each mask, 0 or more.
        groups: (n,) patient group of each image; -1 is an unknown patient, who is a group by itself.
        folds: Number of folds, 2 to ``MAX_FOLDS``.
        seed: Seed of the shuffle that comes before the assignment.

    Returns:
        (n,) numbers from 0 to folds - 1; images of one group have the same.

    Raises:
        UserError: When there are fewer patients than folds.
    """
    assert 2 <= folds <= MAX_FOLDS
    assert len(area) == len(groups)
    check_number(folds, count_patients(groups))
    if not len(groups):  # a dataset of test images only
        return np.zeros(0, np.int8)
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    found = np.full(len(area), -1, np.int8)
    with warnings.catch_warnings():
        # A class with fewer images than there are folds: strata() has logged it.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for fold, (_, validation) in enumerate(splitter.split(area, strata(area, folds), number_patients(groups))):
            found[validation] = fold
    assert (found >= 0).all()
    return found


def import_ahead() -> None:
    """Begin to import what ``assign`` needs, in a thread: it takes a second, in which a build waits for its workers.

    Not at the top of the module, since worker processes, predictions and finished datasets do not need it.
    """
    threading.Thread(target=_import_splitter).start()


def _import_splitter() -> None:
    # A build that is refused ends meanwhile, and libraries cannot register then what they do at the end. ``assign``
    # imports again what failed here.
    with suppress(Exception):
        import_module("sklearn.model_selection")


def check_number(folds: int, patients: int) -> None:
    """Check that every fold can have images.

    Args:
        folds: Number of folds.
        patients: Number of patients among the training images; 0 in a dataset of test images only.

    Raises:
        UserError: When there are fewer patients than folds.
    """
    if 0 < patients < folds:
        raise UserError(
            f"--num-folds {folds}, and the training images are of {counted(patients, 'patient')}",
            "a patient or more for each fold",
            "lower --num-folds, or add images of other patients" if patients > 1 else "add images of other patients",
        )


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


def digest(image_ids: pa.ChunkedArray, fold: npt.NDArray[np.int8]) -> str:
    """Return the SHA-256 of the assignment, by which a run checks that the folds are those it was trained on.

    It is that of a line for each image: its id, a tab, its fold.
    """
    assert len(image_ids) == len(fold)
    found = hashlib.sha256()
    for first in range(0, len(fold), _PIECE):
        numbers = pa.array(fold[first : first + _PIECE]).cast(pa.string())
        ends = pc.binary_join_element_wise(numbers, "", "\n")
        lines = pc.binary_join_element_wise(image_ids.slice(first, _PIECE).combine_chunks(), ends, "\t")
        for piece in join(pa.chunked_array([lines]), ""):
            found.update(piece)
    return found.hexdigest()
