"""What a training is given is checked before any image is read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from unlabeled_data import build_dataset

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import UserError
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.inputs import check_expected, check_folds, check_unlabeled, less_memory
from pneumo.training.recipe import Recipe
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


def test_a_fold_without_an_unlabeled_image_that_it_may_use_is_refused(synthetic: SyntheticTree, tmp_path: Path) -> None:
    table = SampleTable.read(build_dataset(synthetic, tmp_path))
    train, images = table.select("train"), table.select("unlabeled")
    related = np.isin(table.patient[images], table.patient[train])
    own = int(table.fold[train][table.patient[train] == table.patient[images[related]][0]][0])
    recipe = Recipe(consistency=ConsistencyConfig(images=8))
    check_unlabeled(recipe, table, (0, 1))
    only = table.exclude(table.image_id[images[~related]].tolist())
    check_unlabeled(recipe, only, (1 - own,))
    with pytest.raises(
        UserError, match=rf"images 8, and fold {own} may use none of 1 unlabeled image: they are of its"
    ):
        check_unlabeled(recipe, only, (0, 1))
    none = table.exclude(table.image_id[images].tolist())
    with pytest.raises(UserError, match=r"images 8, and the dataset has no unlabeled images; .* --keep-unlabeled"):
        check_unlabeled(recipe, none, (0,))
    check_unlabeled(Recipe(), none, (0, 1))


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
