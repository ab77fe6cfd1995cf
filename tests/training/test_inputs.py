"""What a training is given is checked before any image is read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import UserError
from pneumo.training.inputs import check_expected, check_folds, less_memory
from pneumo.training.recipes import RECIPES


def test_no_folds_are_all_folds(dataset: Path) -> None:
    manifest, table = Manifest.read(dataset), SampleTable.read(dataset)
    assert check_folds((), manifest, table) == (0, 1)
    assert check_folds((1,), manifest, table) == (1,)


@pytest.mark.parametrize("folds", [(2,), (0, 0), (0, 1, 2)])
def test_folds_that_there_are_not_are_refused(dataset: Path, folds: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="expected different numbers from 0 to 1"):
        check_folds(folds, Manifest.read(dataset), SampleTable.read(dataset))


def test_a_dataset_without_labels_is_refused() -> None:
    unlabeled: Any = SimpleNamespace(train=0)
    with pytest.raises(UserError, match="the dataset has no labeled images"):
        check_folds((), unlabeled, SampleTable.from_rows([]))


def test_a_list_of_other_ids_is_refused(dataset: Path, tmp_path: Path) -> None:
    check_expected(None, SampleTable.read(dataset))
    (tmp_path / "ids.csv").write_text("ImageId,EncodedPixels\nsomeone-else,-1\n")
    with pytest.raises(UserError, match="none of 1 expected id is among"):
        check_expected(tmp_path / "ids.csv", SampleTable.read(dataset))


def test_the_flags_that_take_memory_are_named() -> None:
    expected, action = less_memory(RECIPES["best"]())
    assert "--micro-batch-size" in expected
    assert "se_resnext50_32x4d" in expected
    assert "--image-size" in action
