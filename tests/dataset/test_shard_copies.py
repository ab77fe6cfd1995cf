"""Shards that are copied several at a time, and those that are not what the table says."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from recorded_origin import Recorded
from waiting import wait_until

from pneumo.dataset import paths, shard_copies, verify
from pneumo.dataset.origin import Origin, OriginFile
from pneumo.dataset.shard_copies import copy
from pneumo.dataset.table import SampleTable

SHARD = "train-000001.tar"


@pytest.fixture
def remote(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "remote")


def copy_all(origin: Origin, remote: Path, tick: Callable[[str], object] = lambda activity: None) -> list[str]:
    """Copy all shards beside the dataset, and return the issues as lines."""
    table = SampleTable.read(remote)
    shards = verify.shard_rows(table)
    size = sum(verify.shard_size(table, rows[-1]) for _, rows in shards)
    issues = copy(origin, remote.parent / "copy", table, shards, size, tick)
    return [verify.describe(issue, table) for issue in issues]


def files(dataset: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths.shards(dataset).iterdir()}


def test_all_shards_are_copied_with_their_indices(remote: Path) -> None:
    activities: list[str] = []
    assert copy_all(Origin(remote), remote, activities.append) == []
    assert files(remote.parent / "copy") == files(remote)
    assert set(activities) == {"copying the dataset"}


def test_the_sizes_are_known_before(remote: Path) -> None:
    table = SampleTable.read(remote)
    for name, rows in verify.shard_rows(table):
        size = (paths.shards(remote) / name).stat().st_size
        assert verify.shard_size(table, rows[-1]) == verify.ExpectedShard(table, name, rows).size == size


def test_a_shard_that_was_damaged_on_the_way_is_read_again(remote: Path) -> None:
    class Noisy(Recorded):
        @contextmanager
        def open(self, name: str) -> Iterator[OriginFile]:
            with super().open(name) as file:
                if name.endswith(SHARD) and self.shards.count(name) == 1:
                    read = file.read
                    file.read = lambda size=0: (piece := read(size)) and piece[:-1] + b"\x01"  # type: ignore[method-assign]
                yield file

    origin = Noisy(remote)
    assert copy_all(origin, remote) == []
    assert files(remote.parent / "copy") == files(remote)
    assert len(origin.shards) == 9


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: os.truncate(path, 700), "the shard ends at byte 700"),
        (lambda path: path.write_bytes(path.read_bytes() + bytes(50_000)), "the shard has 20481 bytes, expected 20480"),
    ],
    ids=["missing", "short", "long"],
)
def test_a_shard_of_another_size_has_issues_and_no_index(
    remote: Path, change: Callable[[Path], Any], found: str
) -> None:
    change(paths.shards(remote) / SHARD)
    issues = copy_all(Origin(remote), remote)
    assert issues
    assert all(line.startswith(f"shards/{SHARD}: ") for line in issues)
    assert found in issues[-1] or found in issues[0]
    copied = files(remote.parent / "copy")
    assert SHARD.replace(".tar", ".idx") not in copied
    assert len(copied) == (14 if found.startswith("there is no") else 15)


def test_an_error_ends_all_threads_and_leaves_no_part_of_a_file(remote: Path) -> None:
    class Broken(Recorded):
        @contextmanager
        def open(self, name: str) -> Iterator[OriginFile]:
            with super().open(name) as file:
                if name.endswith(SHARD):
                    raise PermissionError(13, "Permission denied")
                if name.endswith("train-000000.tar"):
                    read = file.read
                    file.read = lambda size=0: time.sleep(0.02) or read(100)  # type: ignore[method-assign,func-returns-value]
                yield file

    with pytest.raises(PermissionError):
        copy_all(Broken(remote), remote)
    left = files(remote.parent / "copy")
    assert not [name for name in left if name.startswith(".")]
    assert not {SHARD, "train-000000.tar"} & left.keys()


def test_a_read_that_hangs_does_not_delay_a_stop(remote: Path) -> None:
    class Hanging(Recorded):
        reading, answers = threading.Event(), threading.Event()

        @contextmanager
        def open(self, name: str) -> Iterator[OriginFile]:
            with super().open(name) as file:
                if name.endswith(SHARD):
                    read = file.read

                    def hang(size: int = 0) -> bytes:
                        self.reading.set()
                        self.answers.wait(60)
                        return read(size)

                    file.read = hang  # type: ignore[method-assign]
                yield file

    origin = Hanging(remote)

    def stop(_: str) -> None:
        if origin.reading.wait(60):
            raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        copy_all(origin, remote, stop)
    hanging = [thread for thread in threading.enumerate() if thread not in before]
    # The end of the process waits for no daemon.
    assert hanging
    assert all(thread.daemon for thread in hanging)
    origin.answers.set()
    wait_until(lambda: not any(thread.is_alive() for thread in hanging))
    left = files(remote.parent / "copy")
    assert SHARD not in left
    assert not [name for name in left if name.startswith(".")]


def test_a_stop_is_seen_while_a_slow_file_is_read(remote: Path) -> None:
    """Of a slow link, no more than a part of a MB is read until the thread looks."""
    sizes: list[int] = []

    class Recording(Recorded):
        @contextmanager
        def open(self, name: str) -> Iterator[OriginFile]:
            with super().open(name) as file:
                read = file.read
                file.read = lambda size=0: sizes.append(size) or read(size)  # type: ignore[method-assign,func-returns-value]
                yield file

    table = SampleTable.read(remote)
    name, rows = verify.shard_rows(table)[0]
    with (paths.shards(remote) / name).open("ab") as file:
        file.truncate(4 << 20)
    copier = shard_copies._Copier(Recording(remote), remote.parent / "copy", table, [(name, rows)])
    with (remote.parent / "read").open("w+b") as target:
        copier._read(name, target, 4 << 20)
    assert len(sizes) > 4
    assert max(sizes) <= 1 << 20
