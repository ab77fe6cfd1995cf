"""A copy of a dataset: complete or not believed, made once, continued after a kill, and enough for later starts."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_data import contents
from recorded_origin import Recorded

from pneumo.dataset import local_copy, paths, verify
from pneumo.dataset.local_copy import LocalCopy, complete_copies
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.origin import OriginFile, OriginLostError
from pneumo.dataset.table import SampleTable
from pneumo.runtime import locks
from pneumo.runtime.errors import UserError

SHARD = "shards/train-000001.tar"


@pytest.fixture
def remote(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "remote", ignore=shutil.ignore_patterns("logs"))


def copy_of(remote: Path) -> LocalCopy:
    return LocalCopy(remote.parent / "cache", Manifest.read(remote))


def ensure(remote: Path, tick: Callable[[str], object] = lambda activity: None) -> Recorded:
    """Complete the copy, and return what was read for it."""
    origin = Recorded(remote)
    copy_of(remote).ensure(origin, tick)
    return origin


def issues(dataset: Path) -> list[str]:
    table = SampleTable.read(dataset)
    return [verify.describe(issue, table) for _, part in verify.check(dataset, table, 2) for issue in part]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def temporary_files(copy: LocalCopy) -> list[Path]:
    return [path for path in copy.path.rglob(".*") if path.is_file()]


def test_a_copy_has_the_same_files_and_a_second_start_reads_none_of_the_others(remote: Path) -> None:
    copy = copy_of(remote)
    assert not copy.is_complete
    read = ensure(remote)
    assert len(read.shards) == 8
    assert copy.is_complete
    assert contents(copy.path) == contents(remote)
    assert not copy.path.with_suffix(".lock").exists()
    shutil.rmtree(remote)
    copy.ensure(origin := Recorded(remote), lambda activity: None)
    assert origin.read == []
    assert [found.path for found in complete_copies(remote.parent / "cache")] == [copy.path]


def test_a_copy_that_ended_early_is_no_dataset_and_goes_on_with_what_is_left(remote: Path) -> None:
    copy = copy_of(remote)

    class Gone(Recorded):
        @contextmanager
        def open(self, name: str) -> Iterator[OriginFile]:
            if name.startswith("shards/test"):
                time.sleep(0.2)
                raise OriginLostError(f"{name}: connection reset")
            with super().open(name) as file:
                yield file

    with pytest.raises(UserError, match=r"connection reset.*the same command goes on with the copy"):
        copy.ensure(Gone(remote), lambda activity: None)
    assert not copy.is_complete
    assert not paths.manifest(copy.path).exists()
    assert temporary_files(copy) == []
    there = {path.name for path in paths.shards(copy.path).glob("*.tar")}
    assert there
    assert not any(name.startswith("test") for name in there)
    # What a killed process leaves is neither believed nor kept.
    left = paths.shards(copy.path) / ".test-000000.tar.pneumo-tmp-abcd1234"
    left.write_bytes(b"half")
    tar = paths.shards(copy.path) / min(there)
    tar.with_suffix(".idx").unlink()
    read = ensure(remote)
    assert read.shards == sorted({tar.relative_to(copy.path).as_posix(), *set_of_tars(remote)} - believed(there, tar))
    assert paths.SAMPLES not in read.read
    assert not left.exists()
    assert contents(copy.path) == contents(remote)


def set_of_tars(dataset: Path) -> set[str]:
    return {path.relative_to(dataset).as_posix() for path in paths.shards(dataset).glob("*.tar")}


def believed(there: set[str], without_index: Path) -> set[str]:
    return {f"shards/{name}" for name in there} - {f"shards/{without_index.name}"}


@pytest.mark.parametrize("removed", [SHARD, SHARD.replace(".tar", ".idx"), "samples.parquet"])
def test_what_a_cleaner_removed_is_copied_again(remote: Path, removed: str) -> None:
    ensure(remote)
    copy = copy_of(remote)
    (copy.path / removed).unlink()
    assert not copy.is_complete
    read = ensure(remote)
    assert [name for name in read.read if not name.endswith(".csv")] == [removed.replace(".idx", ".tar")]
    assert contents(copy.path) == contents(remote)


def test_a_damaged_table_of_a_copy_is_replaced(remote: Path) -> None:
    ensure(remote)
    copy = copy_of(remote)
    paths.manifest(copy.path).unlink()
    os.truncate(paths.samples(copy.path), 1000)
    read = ensure(remote)
    assert read.shards == []
    assert contents(copy.path) == contents(remote)


def test_a_damaged_table_is_an_error(remote: Path) -> None:
    os.truncate(paths.samples(remote), 1000)
    with pytest.raises(UserError, match=r"samples\.parquet"):
        ensure(remote)
    assert not copy_of(remote).is_complete


def test_a_missing_table_is_an_error(remote: Path) -> None:
    paths.samples(remote).unlink()
    with pytest.raises(UserError, match=r"remote has a dataset\.json and no samples\.parquet"):
        ensure(remote)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_dataset_that_goes_away_while_it_is_copied_is_not_taken_for_damaged(remote: Path, replaced: bool) -> None:
    class Unmounted(Recorded):
        @contextmanager
        def open(self, name: str) -> Iterator[OriginFile]:
            if name == SHARD:
                manifest = Manifest.read(remote)
                paths.manifest(remote).unlink()
                paths.tar(remote, "train-000001").unlink()
                if replaced:
                    replace(manifest, renamed=manifest.renamed + 1).write(remote)
            with super().open(name) as file:
                yield file

    copy = copy_of(remote)
    with pytest.raises(UserError, match="remote was removed or replaced while it was copied"):
        copy.ensure(Unmounted(remote), lambda activity: None)
    assert not paths.manifest(copy.path).exists()


def test_a_damaged_shard_is_named_kept_for_its_other_images_and_copied_again_at_each_start(
    remote: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table, copy = SampleTable.read(remote), copy_of(remote)
    row = int((table.shard == "train-000001.tar").argmax())
    flip(remote / SHARD, int(table.offset[row]) + 9)
    assert ensure(remote).read.count(SHARD) == 2, "it may have been damaged on the way"
    image = f"image {table.image_id[row]}: its {table.image_format[row]} member is damaged"
    assert f"damaged in {remote}: {SHARD}: {image}" in caplog.text
    assert (copy.path / SHARD).read_bytes() == (remote / SHARD).read_bytes()
    assert len(issues(copy.path)) == 2, "of the image, and of the index that is not there"
    assert not copy.is_complete
    assert ensure(remote).shards == [SHARD, SHARD]
    flip(remote / SHARD, int(table.offset[row]) + 9)
    assert ensure(remote).shards == [SHARD]
    assert copy.is_complete
    assert issues(copy.path) == []


def test_too_small_a_disk_is_told_before_the_first_shard(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copy_of(remote)
    size = sum(path.stat().st_size for path in paths.shards(remote).glob("*.tar"))
    assert copy.plan(SampleTable.read(remote)).size == size
    other = copy.path.parent / "0123456789abcdef"
    paths.shards(other).mkdir(parents=True)
    (paths.shards(other) / "train-000000.tar").write_bytes(bytes(3_000_000))
    usage = shutil.disk_usage(remote)
    monkeypatch.setattr(local_copy.shutil, "disk_usage", lambda path: usage._replace(free=size - 1))
    with pytest.raises(UserError) as raised:
        ensure(remote)
    message = str(raised.value)
    assert (
        f"8 shards, {size / 1e3:.0f} kB of {size / 1e3:.0f} kB free; expected space for a copy of {remote}" in message
    )
    assert f"1 copy of another dataset, 3.0 MB: remove what no run uses with rm -r {other}" in message
    assert list(paths.shards(copy.path).iterdir()) == []
    monkeypatch.setattr(local_copy.shutil, "disk_usage", lambda path: usage._replace(free=size))
    ensure(remote)
    assert copy.is_complete


def test_copies_of_other_datasets_stay_and_are_named(remote: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pneumo")
    ensure(remote)
    assert "of another dataset" not in caplog.text
    first = copy_of(remote).path
    manifest = Manifest.read(remote)
    replace(manifest, renamed=manifest.renamed + 1).write(remote)
    ensure(remote)
    assert copy_of(remote).path != first
    assert "has 1 copy of another dataset, 1" in caplog.text
    assert f"rm -r {first}" in caplog.text
    assert len(complete_copies(remote.parent / "cache")) == 2


def test_a_second_process_waits_says_so_and_copies_nothing(remote: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pneumo")
    copy, read = copy_of(remote), []

    def wait() -> None:
        read.append(ensure(remote, activities.append).read)

    activities: list[str] = []
    with locks.hold(copy.path.with_suffix(".lock"), "x"):
        thread = threading.Thread(target=wait)
        thread.start()
        while len(activities) < 3:
            time.sleep(0.01)
        copy._copy(Recorded(remote), lambda activity: None)
    thread.join()
    assert read == [[]]
    assert set(activities) == {"waiting for another process to copy the dataset"}
    assert caplog.text.count(f"waiting for {copy.path} to be copied by another process (process {os.getpid()} on") == 1


def test_a_stop_leaves_no_part_of_a_shard_and_the_next_start_goes_on(remote: Path) -> None:
    copy = copy_of(remote)

    def stop(activity: str) -> None:
        if activity == "copying the dataset":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(remote, stop)
    assert temporary_files(copy) == []
    assert not copy.is_complete
    assert not copy.path.with_suffix(".lock").exists()
    ensure(remote)
    assert contents(copy.path) == contents(remote)


@pytest.mark.parametrize(("directory", "copy"), [(0o755, 0o700), (0o775, 0o700), (0o2755, 0o700), (0o2775, 0o770)])
def test_only_its_owner_looks_into_a_copy_or_the_group_that_shares_them(
    directory: int, copy: int, remote: Path
) -> None:
    path = copy_of(remote).path
    path.parent.mkdir(parents=True)
    path.parent.chmod(directory)
    before = os.umask(0o002)
    try:
        ensure(remote)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == copy


def test_a_copy_that_is_removed_while_it_is_made_is_no_damaged_dataset(remote: Path) -> None:
    class Removing(Recorded):
        @contextmanager
        def open(self, name: str) -> Iterator[OriginFile]:
            if name == SHARD:
                shutil.rmtree(copy_of(remote).path, ignore_errors=True)
            with super().open(name) as file:
                yield file

    with pytest.raises(UserError, match="was removed while the dataset was copied"):
        copy_of(remote).ensure(Removing(remote), lambda activity: None)
    assert not copy_of(remote).is_complete


def test_a_shard_that_was_cut_off_or_replaced_is_copied_again(remote: Path) -> None:
    ensure(remote)
    shard = copy_of(remote).path / SHARD
    for damage in (lambda: os.truncate(shard, 10), lambda: (shard.unlink(), shard.symlink_to(remote / SHARD))):
        damage()
        assert not copy_of(remote).is_complete
        ensure(remote)
        assert copy_of(remote).is_complete
        assert shard.read_bytes() == (remote / SHARD).read_bytes()


def test_a_copy_whose_table_is_damaged_is_not_complete(remote: Path) -> None:
    ensure(remote)
    table = paths.samples(copy_of(remote).path)
    table.write_bytes(table.read_bytes()[:-9])
    assert not copy_of(remote).is_complete
    ensure(remote)
    assert copy_of(remote).is_complete


def test_a_directory_of_another_user_is_told(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(remote.parent / "cache" / "datasets"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"cache/datasets: Permission denied; .*give another --cache-dir, or share it"):
        ensure(remote)


def test_a_copy_with_another_dataset_json_is_not_complete(remote: Path) -> None:
    ensure(remote)
    copy = copy_of(remote)
    manifest = Manifest.read(remote)
    replace(manifest, renamed=manifest.renamed + 1).write(copy.path)
    assert not copy.is_complete
