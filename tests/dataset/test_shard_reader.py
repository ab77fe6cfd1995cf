import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset import paths
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.masks import rle
from pneumo.runtime.errors import UserError


@pytest.fixture(scope="module")
def dataset(tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "dataset"
    build(tree.inputs, out, BuildOptions(workers=2))
    return out


@pytest.fixture
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


def test_every_member_is_the_one_that_the_table_describes(reader: ShardReader, tree) -> None:
    table = reader.table
    for row in range(len(table)):
        data = reader.image(row)
        assert hashlib.sha256(data).hexdigest() == table.sha256[row].decode()
        assert data[:4] == {"jpg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG"}[table.image_format[row]]
    for row in table.select("train"):
        mask = rle.decode(reader.rle(row), *table.shape(row))
        np.testing.assert_array_equal(mask, tree.masks[table.image_id[row]])


def test_test_image_has_no_mask(reader: ShardReader) -> None:
    with pytest.raises(ValueError, match="is of the split test and has no mask"):
        reader.rle(int(reader.table.select("test")[0]))


def test_threads_share_a_reader_and_its_files(reader: ShardReader) -> None:
    rows = list(range(len(reader.table))) * 20
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda row: hashlib.sha256(reader.image(row)).hexdigest(), rows))
    assert digests == [reader.table.sha256[row].decode() for row in rows]
    assert set(reader._files) == set(reader.table.shard.tolist())


@pytest.mark.parametrize("size", [0, 700], ids=["empty", "cut"])
def test_short_shard_names_the_image_and_the_shard(reader: ShardReader, tmp_path: Path, size: int) -> None:
    paths.shards(tmp_path).mkdir()
    name = str(reader.table.shard[2])
    (paths.shards(tmp_path) / name).write_bytes((paths.shards(reader.dataset) / name).read_bytes()[:size])
    torn = ShardReader(tmp_path, reader.table)
    with pytest.raises(UserError, match=f"image {reader.table.image_id[2]} in shards/{name}.*ends at byte {size}"):
        torn.image(2)


def test_a_shard_truncated_under_a_reader_is_an_error_and_no_crash(reader: ShardReader, tmp_path: Path) -> None:
    shutil.copytree(paths.shards(reader.dataset), paths.shards(tmp_path))
    copied = ShardReader(tmp_path, reader.table)
    assert copied.image(0) == reader.image(0)
    os.truncate(paths.shards(tmp_path) / str(reader.table.shard[0]), 100)
    with pytest.raises(UserError, match="ends at byte 100"):
        copied.image(0)


def test_a_reader_keeps_reading_the_dataset_it_opened(reader: ShardReader, tmp_path: Path) -> None:
    shutil.copytree(paths.shards(reader.dataset), paths.shards(tmp_path))
    copied = ShardReader(tmp_path, reader.table)
    assert copied.image(0) == reader.image(0)
    shutil.rmtree(paths.shards(tmp_path))
    assert copied.image(1) == reader.image(1)


def test_a_closed_reader_holds_no_file_and_opens_it_again(reader: ShardReader) -> None:
    before = reader.image(0)
    reader.close()
    assert reader._files == {}
    assert reader.image(0) == before


def test_missing_shard_names_the_image_and_the_shard(reader: ShardReader, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shards/train-000000\.tar.*No such file"):
        ShardReader(tmp_path, reader.table).image(0)


def test_a_shard_renamed_to_another_is_found(reader: ShardReader, tmp_path: Path) -> None:
    shutil.copytree(paths.shards(reader.dataset), paths.shards(tmp_path))
    (paths.shards(tmp_path) / "train-000000.tar").replace(paths.shards(tmp_path) / "test-000000.tar")
    row = int(reader.table.select("test")[0])
    with pytest.raises(UserError, match=rf"image {reader.table.image_id[row]} in shards/test-000000.tar .* is damaged"):
        ShardReader(tmp_path, reader.table).image(row)


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("member", ["image", "rle"])
def test_any_flipped_bit_of_a_member_is_found(reader: ShardReader, tmp_path: Path, member: str, bit: int) -> None:
    """Also where the content stays good to read: a mask of the same area elsewhere, a picture with other pixels."""
    paths.shards(tmp_path).mkdir()
    table, row = reader.table, int(np.flatnonzero(reader.table.positive)[1])
    name = str(table.shard[row])
    offset, size = (
        (table.offset[row], table.bytes[row]) if member == "image" else (table.rle_offset[row], table.rle_bytes[row])
    )
    content = bytearray((paths.shards(reader.dataset) / name).read_bytes())
    content[offset + size * bit // 8] ^= 1 << bit
    (paths.shards(tmp_path) / name).write_bytes(content)
    damaged = ShardReader(tmp_path, table)
    what = table.image_format[row] if member == "image" else "rle"
    with pytest.raises(UserError, match=f"image {table.image_id[row]} in shards/{name} .*the {what} member is damaged"):
        getattr(damaged, member)(row)
    assert damaged.image(row + 1) == reader.image(row + 1), "the next sample is well"


def test_an_empty_mask_is_not_read(reader: ShardReader, tmp_path: Path) -> None:
    row = int(np.flatnonzero((reader.table.split == "train") & ~reader.table.positive)[0])
    assert ShardReader(tmp_path / "nowhere", reader.table).rle(row) == "-1"


def test_a_member_is_hashed_when_it_is_first_read(dataset, monkeypatch):
    table = SampleTable.read(dataset)
    reader, row = ShardReader(dataset, table), int(np.flatnonzero(table.positive)[0])
    hashed = []
    real = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda content: hashed.append(len(content)) or real(content))
    first = bytes(reader.image(row)), reader.rle(row)
    assert hashed == [table.bytes[row], table.rle_bytes[row]]
    assert (bytes(reader.image(row)), reader.rle(row)) == first
    assert len(hashed) == 2
