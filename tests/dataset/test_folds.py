import hashlib
import logging
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from pneumo.dataset.folds import assign, digest, strata
from pneumo.runtime.errors import UserError


def random_areas(images: int, patients: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    area = np.where(rng.random(images) < 0.22, rng.integers(55, 160_000, images), 0)
    return area, rng.integers(0, patients, images).astype(np.int32)


def test_patients_stay_together_and_strata_are_spread_evenly() -> None:
    area, groups = random_areas(2000, 900)
    fold = assign(area, groups, 5, seed=0)
    assert fold.dtype == np.int8
    for patient in np.unique(groups):
        assert len(np.unique(fold[groups == patient])) == 1
    for stratum in range(5):
        counts = np.bincount(fold[strata(area, 5) == stratum], minlength=5)
        assert counts.max() - counts.min() <= 3, (stratum, counts)


def test_same_seed_same_folds_other_seed_other_folds() -> None:
    area, groups = random_areas(300, 150)
    assert (assign(area, groups, 4, 7) == assign(area, groups, 4, 7)).all()
    assert (assign(area, groups, 4, 7) != assign(area, groups, 4, 8)).any()


def test_unknown_patients_are_groups_of_their_own() -> None:
    fold = assign(np.zeros(40, np.int64), np.full(40, -1, np.int32), 4, 0)
    assert np.bincount(fold).tolist() == [10, 10, 10, 10]


def test_strata_are_empty_and_quartiles() -> None:
    area = np.concatenate([np.zeros(30), np.arange(1, 41)]).astype(np.int64)
    assert np.bincount(strata(area, 5)).tolist() == [30, 10, 10, 10, 10]
    assert strata(area, 5)[30:].tolist() == sorted(strata(area, 5)[30:].tolist())


@pytest.mark.parametrize(
    ("area", "classes"),
    [
        ([0] * 20, {0}),
        ([9] * 20, {1}),
        ([0] * 20 + [1, 2, 3], {0, 1}),
        ([0] * 3 + [5] * 3, {0}),
        ([0] * 20 + list(range(1, 9)), {0, 1}),
    ],
    ids=["all empty", "one size", "few positives", "nothing reaches every fold", "small quartiles"],
)
def test_coarser_strata_where_images_are_few(area: list[int], classes: set[int]) -> None:
    assert set(strata(np.array(area, np.int64), 5).tolist()) == classes
    assert set(assign(np.array(area, np.int64), np.full(len(area), -1, np.int32), 5, 0).tolist()) == set(range(5))


def test_fewer_patients_than_folds_are_refused() -> None:
    groups = np.array([0, 0, 1, -1], np.int32)
    assert sorted(set(assign(np.zeros(4, np.int64), groups, 3, 0).tolist())) == [0, 1, 2]
    with pytest.raises(
        UserError,
        match=r"--num-folds 4, and the training images are of 3 patients; expected a patient or more for each fold",
    ):
        assign(np.zeros(4, np.int64), groups, 4, 0)


def test_no_training_image_gives_no_fold_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("pneumo").propagate = True
    assert assign(np.zeros(0, np.int64), np.zeros(0, np.int32), 5, 0).shape == (0,)
    assert caplog.text == ""


def test_digest_differs_between_assignments() -> None:
    fold, ids, swapped = np.array([0, 1], np.int8), pa.chunked_array([["a", "b"]]), pa.chunked_array([["b", "a"]])
    assert digest(ids, fold) == digest(pa.chunked_array([["a"], ["b"]]), fold)
    assert digest(ids, fold) != digest(ids, fold[::-1])
    assert digest(ids, fold) != digest(swapped, fold)


def test_the_digest_is_of_all_lines_however_many_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, fold = [f"1.2.{n}" for n in range(7)], np.arange(7, dtype=np.int8)
    expected = hashlib.sha256(b"".join(f"1.2.{n}\t{n}\n".encode() for n in range(7))).hexdigest()
    for piece in (1, 2, 7, 100):
        monkeypatch.setattr("pneumo.dataset.folds._PIECE", piece)
        assert digest(pa.chunked_array([ids]), fold) == digest(pa.chunked_array([ids[:3], ids[3:]]), fold) == expected


def test_what_the_assignment_needs_is_imported_ahead_and_not_with_the_module() -> None:
    code = (
        "import sys, threading; from pneumo.dataset import folds; assert 'sklearn' not in sys.modules; "
        "folds.import_ahead(); [thread.join() for thread in threading.enumerate()[1:]]; "
        "assert 'sklearn.model_selection' in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
