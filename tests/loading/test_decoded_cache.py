"""A cache gives the same bits as decoding anew, keeps whole samples only, and its failure is nobody else's."""

import errno
import mmap
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loading_data import ALL, CASES, EVERYTHING, ROW, plan, write_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.cache_layout import CacheLayout
from pneumo.loading.decoded_cache import DecodedCache, FileStorage, MemoryStorage, storage_bytes
from pneumo.loading.images import read_reduced
from pneumo.masks import rle
from pneumo.runtime.errors import UserError


def open_file(directory) -> int:
    file, name = tempfile.mkstemp(dir=directory)
    Path(name).unlink()
    return file


def make_cache(data, kind="memory", size=96, limit=None, rows=ALL, file=None) -> DecodedCache:
    layout = CacheLayout.of(data.table, np.array(rows), size, limit)
    storage = MemoryStorage(storage_bytes(layout)) if kind == "memory" else FileStorage(file)
    return DecodedCache(layout, storage)


@pytest.fixture(params=["memory", "file"])
def cache(request, data, tmp_path):
    return make_cache(data, request.param, file=open_file(tmp_path) if request.param == "file" else None)


def no_reading(monkeypatch):
    monkeypatch.setattr(ShardReader, "_member", lambda *_: pytest.fail("a shard was read"))


def test_batches_are_the_same_with_a_cache_and_the_second_epoch_reads_nothing(data, cache, monkeypatch):
    plans = [[plan(ALL, 96, EVERYTHING, first=8 * i, epoch=epoch) for i in range(2)] for epoch in range(2)]
    loader = data.opencv()
    expected = [*loader(plans[0]), *loader(plans[1])]
    loader.cache = cache
    found = list(loader(plans[0]))
    no_reading(monkeypatch)
    found += loader(plans[1])
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.image, theirs.image)
        assert torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("name", ["square", "odd", "deep", "deep and wide", "large"])
def test_image_and_run_lengths_come_back_as_they_were(data, cache, monkeypatch, name):
    row = ROW[name]
    factor = int(cache.layout.factors[row])
    expected = read_reduced(data.reader, row, factor), data.reader.rle(row)
    for _ in range(2):
        image, text = cache.image(data.reader, row, factor), cache.rle(data.reader, row)
        assert image.dtype == expected[0].dtype == (np.uint16 if "deep" in name else np.uint8)
        assert np.array_equal(image, expected[0])
        assert text == expected[1]
        no_reading(monkeypatch)


def test_an_image_downsampled_otherwise_is_not_taken_from_the_cache(data, cache):
    row = ROW["large"]
    cache.image(data.reader, row, 8)
    assert cache.image(data.reader, row, 2).shape == (512, 512)
    assert cache.image(data.reader, row, 8).shape == (128, 128)


def test_what_has_no_place_is_read_each_time(data, monkeypatch):
    whole = make_cache(data)
    cache = make_cache(data, limit=whole.layout.bytes - 1)
    for _ in range(2):
        for row in ALL:
            image = cache.image(data.reader, row, int(cache.layout.factors[row]))
            assert np.array_equal(image, whole.image(data.reader, row, int(cache.layout.factors[row])))
    no_reading(monkeypatch)
    with pytest.raises(pytest.fail.Exception):
        cache.image(data.reader, ALL[-1], int(cache.layout.factors[ALL[-1]]))


def test_processes_share_a_file(data, tmp_path, monkeypatch):
    file = open_file(tmp_path)
    writer, reader = (make_cache(data, "file", file=os.dup(file)) for _ in range(2))
    os.close(file)
    expected = {row: writer.image(data.reader, row, int(writer.layout.factors[row])) for row in ALL[::2]}
    no_reading(monkeypatch)
    for row, image in expected.items():
        assert np.array_equal(reader.image(data.reader, row, int(reader.layout.factors[row])), image)
    with pytest.raises(pytest.fail.Exception):
        reader.image(data.reader, 1, int(reader.layout.factors[1]))


def test_a_sample_that_was_written_in_part_does_not_count(data, monkeypatch):
    cache = make_cache(data)
    written = []

    def write(self, offset, content):
        written.append(offset)
        self._content[offset : offset + len(content) // 2] = content[: len(content) // 2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStorage, "write", write)
        with pytest.raises(KeyboardInterrupt):
            cache.image(data.reader, 0, 2)
    assert len(written) == 1
    assert np.array_equal(cache.image(data.reader, 0, 2), read_reduced(data.reader, 0, 2))


def test_a_full_disk_ends_the_cache_and_nothing_else(data, tmp_path, monkeypatch, caplog):
    cache = make_cache(data, "file", file=open_file(tmp_path))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    for row in (0, 0, 1):
        assert np.array_equal(cache.image(data.reader, row, 2), read_reduced(data.reader, row, 2))
    assert [r.message for r in caplog.records if "no longer kept" in r.message] == [
        "decoded images are no longer kept: No space left on device"
    ]


def test_a_damaged_sample_is_an_error_each_time(data, tmp_path, cache):
    files = list(data.files)
    files[ROW["square"]] = files[ROW["square"]][:1000]
    texts = ["7 99999999" if row == ROW["odd"] else rle.encode(mask) for row, mask in enumerate(data.masks)]
    loader = data.opencv()
    loader.reader = write_dataset(tmp_path / "d", files, texts)
    loader.cache = make_cache(replace(data, reader=loader.reader))
    for _ in range(2):
        with pytest.raises(UserError, match=r"id-square in shards/train-000000.tar .* the jpg file is incomplete"):
            list(loader([plan([0], 96)]))
        with pytest.raises(UserError, match=r"id-odd .*the mask has .*beyond"):
            list(loader([plan([ROW["odd"]], 96)]))


def test_threads_fill_a_cache_alike(data):
    plans = [plan(ALL, 96, EVERYTHING, first=8 * i, epoch=i) for i in range(4)]
    batches = []
    for workers in (1, 3):
        loader = data.opencv(workers)
        loader.cache = make_cache(data)
        batches.append(list(loader(plans)))
    assert all(torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask) for a, b in zip(*batches, strict=True))


@pytest.mark.parametrize("refused", [False, True])
def test_large_pages_are_asked_for_and_not_needed(monkeypatch, refused):
    asked = []

    class Memory(mmap.mmap):
        def madvise(self, advice):
            asked.append(advice)
            if refused:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(mmap, "mmap", Memory)
    storage = MemoryStorage(3 * mmap.PAGESIZE)
    storage.write(5000, np.arange(7, dtype=np.uint8))
    assert storage.read(4999, 9).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 0]
    assert asked == ([mmap.MADV_HUGEPAGE] if hasattr(mmap, "MADV_HUGEPAGE") else [])


def test_cases_cover_both_formats_and_an_odd_size():
    assert {case.image_format for case in CASES} == {"jpg", "png"}
    assert any(case.rows % 2 and case.columns % 2 for case in CASES)
