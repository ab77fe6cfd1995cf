"""How many decoded images are kept, where, and that nothing is left of them."""

import pickle
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loading_data import ROW

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.loading import cache_plan
from pneumo.loading.cache_layout import CacheLayout
from pneumo.loading.cache_plan import CacheKeeper, CacheOptions, plan_cache, plan_stages
from pneumo.loading.images import read_reduced
from pneumo.runtime.errors import UserError


class Ranks:
    """Ranks that are threads: what a group's collectives do."""

    def __init__(self, size: int) -> None:
        self.size, self.box, self.fence = size, [None] * size, threading.Barrier(size)

    def rank(self, rank: int) -> SimpleNamespace:
        def exchange(value):
            self.box[rank] = value
            self.fence.wait()
            values = list(self.box)
            self.fence.wait()
            return values

        return SimpleNamespace(
            rank=rank,
            is_leader=rank == 0,
            gather=lambda value: exchange(value) if rank == 0 else exchange(value)[:0],
            broadcast=lambda value: exchange(value)[0],
            barrier=self.fence.wait,
        )


def open_all(data, options, size=96, ranks=1):
    together = Ranks(ranks)
    with ThreadPoolExecutor(ranks) as pool:
        keepers = [keeper(options, ranks) for _ in range(ranks)]
        for rank, one in enumerate(keepers):
            one.join(together.rank(rank))
        return list(pool.map(lambda one: one.open(data.table, size), keepers)), keepers


def keeper(options, ranks=1):
    return CacheKeeper(options, World(rank=0, size=1, device=torch.device("cpu"), cores=1, ranks_on_machine=ranks))


def wanted(data, size):
    return CacheLayout.of(data.table, data.table.select("train"), size).wanted_bytes


def test_ranks_of_a_machine_divide_a_share_of_its_free_memory(data, monkeypatch):
    monkeypatch.setattr(cache_plan, "available_memory", lambda: 4 * wanted(data, 96))
    for ranks, share, everything in ((1, 0.25, True), (1, 0.2, False), (2, 0.5, True), (4, 0.5, False)):
        plan = plan_cache(data.table, 96, CacheOptions(share=share), ranks=ranks)
        assert (plan.layout.bytes == wanted(data, 96)) == everything
        assert plan.layout.bytes <= 4 * wanted(data, 96) * share / ranks


def test_the_plan_is_told_in_plain_words(data, monkeypatch):
    for free, expected in (
        (2**33, "decoded images at 96 px are kept after the first epoch: 0.00 GiB of 8.0 GiB free in memory"),
        (wanted(data, 96), "2 images are kept (0.00 GiB), the others decoded in each epoch"),
        (
            0,
            "decoded images at 96 px would take 0.00 GiB of 0.0 GiB free in memory, of which --cache-share allows a"
            " rank 0.00 GiB: they are decoded in each epoch",
        ),
    ):
        monkeypatch.setattr(cache_plan, "available_memory", lambda free=free: free)
        (plan, *rest) = plan_stages(data.table, [96, 96, 64], CacheOptions(), 1)
        line = plan.describe()
        assert expected.split(" images are kept")[-1] in line
        assert len(rest) == 1


def test_what_is_copied_before_is_not_free(data, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_plan, "_free_space", lambda directory: 3 * 2**30)
    options = CacheOptions(directory=tmp_path)
    for reserved, free in ((0, "3.0"), (2**30, "2.0"), (2**40, "0.0")):
        (plan,) = plan_stages(data.table, [96], options, 1, reserved=reserved)
        assert f" of {free} GiB free in {tmp_path}" in plan.describe()


def test_a_directory_that_a_dry_run_does_not_make_has_the_space_of_its_disk(data, tmp_path):
    (plan,) = plan_stages(data.table, [96], CacheOptions(directory=tmp_path / "not" / "made"), 1)
    assert plan.layout.bytes == wanted(data, 96)
    assert not (tmp_path / "not").exists()


def test_without_a_share_or_memory_nothing_is_kept(data, monkeypatch):
    assert open_all(data, CacheOptions(share=0))[0] == [None]
    monkeypatch.setattr(cache_plan, "available_memory", lambda: 0)
    assert open_all(data, CacheOptions())[0] == [None]


def test_a_stage_that_downsamples_otherwise_has_another_cache(data):
    caches = keeper(CacheOptions())
    first = caches.open(data.table, 96)
    assert caches.open(data.table, 97) is first
    caches.join(Ranks(1).rank(0))
    assert caches.open(data.table, 97) is first
    second = caches.open(data.table, 64)
    assert second is not first
    row = ROW["large"]
    for cache in (first, second):
        factor = int(cache.layout.factors[row])
        assert np.array_equal(cache.image(data.reader, row, factor), read_reduced(data.reader, row, factor))


def test_ranks_share_a_file_that_has_no_name(data, tmp_path, monkeypatch):
    caches, _ = open_all(data, CacheOptions(directory=tmp_path), ranks=2)
    assert list(tmp_path.iterdir()) == []
    expected = caches[0].image(data.reader, 0, 2)
    monkeypatch.setattr(ShardReader, "_member", lambda *_: pytest.fail("a shard was read"))
    assert np.array_equal(caches[1].image(data.reader, 0, 2), expected)


def test_machines_do_not_share_a_file(data, tmp_path, monkeypatch):
    names = iter(["a", "b"])
    monkeypatch.setattr(socket, "gethostname", lambda: next(names))
    caches, _ = open_all(data, CacheOptions(directory=tmp_path), ranks=2)
    caches[0].image(data.reader, 0, 2)
    monkeypatch.setattr(ShardReader, "_member", lambda *_: pytest.fail("a shard was read"))
    with pytest.raises(pytest.fail.Exception):
        caches[1].image(data.reader, 0, 2)


def test_a_file_that_another_rank_cannot_see_is_not_shared(data, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_plan, "_open", lambda _: None)
    (first, second), _ = open_all(data, CacheOptions(directory=tmp_path), ranks=2)
    assert first is not None
    assert second is None
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    CacheOptions(directory=tmp_path / "new").check()
    assert (tmp_path / "new").is_dir()
    with pytest.raises(UserError, match=r"--cache-dir .*file/x: Not a directory"):
        CacheOptions(directory=tmp_path / "file" / "x").check()


def test_nothing_is_left_of_a_process_that_is_killed(data, tmp_path):
    program = f"""
import time
from pathlib import Path
import torch
from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.loading.cache_plan import CacheKeeper, CacheOptions
import pickle
reader = pickle.load(open({str(tmp_path / "reader")!r}, "rb"))
reader = ShardReader(*reader)
keeper = CacheKeeper(
    CacheOptions(directory=Path({str(tmp_path / "cache")!r})),
    World(rank=0, size=1, device=torch.device("cpu"), cores=1),
)
cache = keeper.open(reader.table, 96)
for row in range(7):
    cache.image(reader, row, int(cache.layout.factors[row]))
print("filled", flush=True)
time.sleep(600)
"""
    (tmp_path / "cache").mkdir()
    (tmp_path / "reader").write_bytes(pickle.dumps((data.reader.dataset, data.table)))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "filled\n"
        opened = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert any(str(tmp_path / "cache") in name and name.endswith("(deleted)") for name in opened)
        process.send_signal(signal.SIGKILL)
    assert list((tmp_path / "cache").iterdir()) == []
