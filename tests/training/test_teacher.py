"""A run teaches where its networks have not seen the images that validate, and nowhere else: the leaks are planted."""

import shutil
from pathlib import Path

import pytest
from finished_runs import finish_folds
from unlabeled_data import build_dataset

from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.runtime.errors import UserError
from pneumo.training.teacher import Teacher, open_teacher


@pytest.fixture(scope="module")
def dataset(synthetic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_dataset(synthetic, tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def teacher(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish_folds(tmp_path_factory.mktemp("runs") / "teacher", dataset, world).path


def opened(path: Path, dataset: Path) -> Teacher:
    return open_teacher(path, SampleTable.read(dataset), 2, ())


def test_a_run_is_recognized_by_its_weights(teacher: Path, dataset: Path, world: World, tmp_path: Path) -> None:
    one = opened(teacher, dataset)
    assert opened(shutil.copytree(teacher, tmp_path / "copy"), dataset).sha256 == one.sha256
    assert opened(finish_folds(tmp_path / "other", dataset, world, seed=1).path, dataset).sha256 != one.sha256


def test_the_dataset_may_have_had_no_unlabeled_images(synthetic, dataset: Path, world: World, tmp_path: Path) -> None:
    before = build_dataset(synthetic, tmp_path, keep_unlabeled=False)
    assert not len(SampleTable.read(before).select("unlabeled"))
    opened(finish_folds(tmp_path / "run", before, world).path, dataset)


def test_a_run_of_other_folds_is_refused(synthetic, dataset: Path, world: World, tmp_path: Path) -> None:
    shuffled = build_dataset(synthetic, tmp_path, seed=1)
    run = finish_folds(tmp_path / "run", shuffled, world).path
    with pytest.raises(UserError, match=r"fold 0 of it and of the dataset differ.*must not label for it"):
        opened(run, dataset)
    with pytest.raises(UserError, match=r"it has 2 folds, the dataset 3"):
        open_teacher(run, SampleTable.read(shuffled), 3, ())


def test_a_network_that_takes_the_place_of_another_fold_is_refused(
    teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(teacher, tmp_path / "run")
    shutil.rmtree(run / "fold-0")
    shutil.copytree(run / "fold-1", run / "fold-0")
    with pytest.raises(UserError, match=r"fold-0/oof\.parquet has predictions of fold 1"):
        opened(run, dataset)


def test_images_that_one_of_the_two_runs_excludes_are_no_difference(
    dataset: Path, world: World, tmp_path: Path
) -> None:
    table = SampleTable.read(dataset)
    first, last = (str(table.image_id[row]) for row in table.select("train")[[0, -1]])
    run = finish_folds(tmp_path / "run", dataset, world, excluded={first: "damaged"}).path
    open_teacher(run, table.exclude([last]), 2, [last])
    with pytest.raises(UserError, match=last):
        open_teacher(run, table.exclude([last]), 2, ())


def test_there_has_to_be_something_to_label(synthetic, teacher: Path, tmp_path: Path) -> None:
    before = build_dataset(synthetic, tmp_path, keep_unlabeled=False)
    with pytest.raises(UserError, match=r"the dataset has no unlabeled images.*--keep-unlabeled"):
        opened(teacher, before)


def test_folds_that_are_not_trained_are_refused(teacher: Path, dataset: Path, tmp_path: Path) -> None:
    run = shutil.copytree(teacher, tmp_path / "run")
    (run / "fold-1" / "fold.json").unlink()
    with pytest.raises(UserError, match="has no finished fold 1"):
        opened(run, dataset)
