"""Where a command reads its dataset from: where it is, a copy, or, without an answer, the copy that the run needs."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pneumo.dataset import paths
from pneumo.dataset.local_copy import LocalCopy
from pneumo.dataset.manifest import Manifest
from pneumo.distributed.world import World
from pneumo.runtime.errors import UserError
from pneumo.training import run_start
from pneumo.training.local_dataset import local_dataset, plan_local_dataset
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity


@pytest.fixture
def remote(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "remote", ignore=shutil.ignore_patterns("logs"))


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A directory on a file system that is not that of the tests' files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def as_url(directory: Path) -> Path:
    return Path(f"file://{directory}")


def start_run(path: Path, dataset: Path) -> Path:
    """Make a run that was started on a dataset."""
    run_start.create(path, debug(), DatasetIdentity.of(Manifest.read(dataset), {}))
    return path


def test_without_a_cache_directory_a_dataset_is_read_where_it_is(remote: Path, world: World, tmp_path: Path) -> None:
    assert local_dataset(remote, None, world) == remote
    assert plan_local_dataset(remote, None, tmp_path / "run").words == ""
    for call in (lambda path: local_dataset(path, None, world), lambda path: plan_local_dataset(path, None, tmp_path)):
        with pytest.raises(UserError, match=r"--dataset s3://b/x without --cache-dir; .*; add --cache-dir"):
            call(Path("s3://b/x"))


def test_a_dataset_on_the_disk_of_the_cache_directory_is_not_copied(remote: Path, world: World, tmp_path: Path) -> None:
    cache = tmp_path / "not" / "yet" / "there"
    assert local_dataset(remote, cache, world) == remote
    assert plan_local_dataset(remote, cache, tmp_path / "run").words.startswith("none: the dataset is on the disk of")
    assert not cache.exists()


def test_a_dataset_on_another_disk_or_by_its_url_is_copied(
    remote: Path, world: World, tmp_path: Path, other_disk: Path
) -> None:
    given = [(remote, LocalCopy(other_disk / "cache", Manifest.read(remote)))]
    given += [(as_url(remote), LocalCopy(tmp_path / "cache", Manifest.read(remote)))]
    for path, copy in given:
        assert local_dataset(path, copy.path.parents[1], world) == copy.path
        assert copy.is_complete
    # A second start needs dataset.json alone.
    shutil.rmtree(paths.shards(remote))
    paths.samples(remote).unlink()
    for path, copy in given:
        assert local_dataset(path, copy.path.parents[1], world) == copy.path


def test_without_an_answer_a_run_goes_on_with_the_copy_of_its_dataset_and_no_other(
    remote: Path, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, run = tmp_path / "cache", start_run(tmp_path / "run", remote)
    copy = local_dataset(as_url(remote), cache, world, run)
    other = start_run(tmp_path / "other", remote)
    recipe = other / "recipe.json"
    recipe.write_text(recipe.read_text().replace(Manifest.read(remote).folds_digest, "0" * 64))
    away = remote.rename(tmp_path / "away")
    assert local_dataset(as_url(remote), cache, world, run) == copy
    assert f"going on with {copy}, a complete copy of the dataset that the run was started on" in caplog.text
    assert plan_local_dataset(as_url(remote), cache, run).words == f"none: {copy} is complete"
    # The place of a mount that is gone, on the disk of the copy.
    remote.mkdir()
    assert local_dataset(remote, cache, world, run) == copy
    remote.rmdir()
    for wrong in (other, tmp_path / "new", None):
        with pytest.raises(UserError, match=r"file:///.*/remote: no dataset\.json there"):
            local_dataset(as_url(remote), cache, world, wrong)
        with pytest.raises(UserError, match=r"remote: no dataset\.json; expected the directory given to job/shard\.py"):
            local_dataset(remote, cache, world, wrong)
    paths.shards(copy).joinpath("train-000000.idx").unlink()
    with pytest.raises(UserError, match="no dataset"):
        local_dataset(as_url(remote), cache, world, run)
    away.rename(remote)
    assert local_dataset(as_url(remote), cache, world, run) == copy


def test_the_copy_of_another_dataset_is_not_taken_for_it(remote: Path, world: World, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = local_dataset(as_url(remote), cache, world)
    manifest = Manifest.read(remote)
    replace(manifest, renamed=manifest.renamed + 1).write(remote)
    second = local_dataset(as_url(remote), cache, world)
    assert first != second
    assert Manifest.read(second) == Manifest.read(remote)


def test_a_dry_run_says_what_would_be_copied_and_copies_nothing(
    remote: Path, world: World, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan_local_dataset(remote, other_disk / "cache", tmp_path / "run")
    size = sum(path.stat().st_size for path in paths.shards(remote).glob("*.tar"))
    copy = LocalCopy(other_disk / "cache", Manifest.read(remote))
    assert (planned.path, planned.copied) == (remote, size)
    assert planned.words.startswith(f"to {copy.path}: 2 shards, {size / 1e3:.0f} kB of ")
    assert list(other_disk.iterdir()) == []
    with monkeypatch.context() as patch, pytest.raises(UserError, match="expected space for a copy of"):
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=size - 1))
        plan_local_dataset(remote, other_disk / "cache", tmp_path / "run")
    with pytest.raises(UserError, match=r"file:///.*remote has 2 shards, which are not all in .*start the training"):
        plan_local_dataset(as_url(remote), tmp_path / "cache", tmp_path / "run")
    copied = local_dataset(remote, other_disk / "cache", world)
    planned = plan_local_dataset(remote, other_disk / "cache", tmp_path / "run")
    assert (planned.path, planned.copied, planned.words) == (copied, 0, f"none: {copied} is complete")
