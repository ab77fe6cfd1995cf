"""Damaged training images: found when a run is started, and never again."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from unlabeled_data import build_dataset

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.runtime.console import log
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training import run_start
from pneumo.training.excluded import exclusion_caveats, resolve_excluded
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity

IDENTITY = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=2, grouped_by="dicom", patients=9)


def damage(dataset: Path, split: str, index: int) -> str:
    """Flip a bit in the image of a sample; return its id."""
    table = SampleTable.read(dataset)
    row = int(table.select(split)[index])
    shard = dataset / "shards" / str(table.shard[row])
    content = bytearray(shard.read_bytes())
    content[int(table.offset[row]) + 300] ^= 4
    shard.write_bytes(content)
    return str(table.image_id[row])


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))


def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


def resolve(run: Path, dataset: Path, world: World, *, skip: bool) -> tuple[dict[str, str], dict[str, str]]:
    return resolve_excluded(run, reader(dataset), world, skip=skip, workers=1)


def test_damaged_training_images_are_found_and_test_images_are_not_listed(
    copy: Path, tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, logger="pneumo")
    first, second = damage(copy, "train", 3), damage(copy, "train", 20)
    damage(copy, "test", 1)
    excluded, unlabeled = resolve(tmp_path / "run", copy, world, skip=True)
    assert unlabeled == {}
    assert set(excluded) == {first, second}
    assert all(image_id in reason for image_id, reason in excluded.items())
    assert any(line.startswith("1 test image is damaged") for line in caplog.messages)
    assert any(line.startswith("excluded: 2 damaged training images (") for line in caplog.messages)


def test_damaged_unlabeled_images_are_listed_apart(
    synthetic: SyntheticTree, tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = build_dataset(synthetic, tmp_path)
    labeled, without = damage(dataset, "train", 3), damage(dataset, "unlabeled", 1)
    excluded, unlabeled = resolve(tmp_path / "run", dataset, world, skip=True)
    assert (list(excluded), list(unlabeled)) == ([labeled], [without])
    assert any(line.startswith("excluded: 1 damaged training image (") for line in caplog.messages)
    assert any(line.startswith("excluded: 1 damaged unlabeled image, first: ") for line in caplog.messages)
    identity = DatasetIdentity.of(Manifest.read(dataset), excluded, unlabeled)
    assert list(identity.all_excluded) == [labeled, without]


def test_without_the_flag_nothing_is_read_and_nothing_excluded(
    copy: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(copy, "train", 3)
    monkeypatch.setattr(ShardReader, "image", lambda *_: pytest.fail("an image was read"))
    assert resolve(tmp_path / "run", copy, world, skip=False) == ({}, {})


@pytest.mark.parametrize("skip", [True, False])
def test_a_run_that_has_begun_keeps_its_list(copy: Path, tmp_path: Path, world: World, skip: bool) -> None:
    damage(copy, "train", 3)
    kept = str(SampleTable.read(copy).image_id[5])
    known = {"excluded": {kept: "its CRC differs"}, "excluded_unlabeled": {"1.2.3": "cut short"}}
    started = run_start.create(tmp_path / "run", debug(), replace(IDENTITY, **known))
    (started.fold(0).checkpoints / "step-00000001-epoch-0000").mkdir(parents=True)
    assert resolve(tmp_path / "run", copy, world, skip=skip) == tuple(known.values())


def test_a_run_that_has_not_begun_decides_again(copy: Path, tmp_path: Path, world: World) -> None:
    damaged = damage(copy, "train", 3)
    run_start.create(tmp_path / "run", debug(), IDENTITY)
    assert set(resolve(tmp_path / "run", copy, world, skip=True)[0]) == {damaged}


def test_the_report_has_the_number_of_the_images_and_not_their_ids() -> None:
    assert exclusion_caveats({}) == []
    (one,) = exclusion_caveats({"1.2": "cut short"})
    assert "excluded, neither trained on nor scored: 1 damaged training image; recipe.json names each" in one
    (many,) = exclusion_caveats({f"1.{n}": "cut short" for n in range(5)})
    assert "excluded, neither trained on nor scored: 5 damaged training images; recipe.json names each" in many
    assert "1.2" not in one + many
