"""Damaged samples are found by reading them, whatever the damage."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from loading_data import CASES, ROW, Data, write_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.loading.damaged import find_damaged
from pneumo.masks import rle

ALL = np.arange(len(CASES))


def test_an_intact_dataset_has_none(data: Data, world: World) -> None:
    assert find_damaged(data.reader, ALL, world, workers=2) == {}


def test_every_kind_of_damage_is_found_and_named_in_the_rows_order(data: Data, world: World, tmp_path: Path) -> None:
    files, texts = list(data.files), [rle.encode(mask) for mask in data.masks]
    files[ROW["odd"]] = b'{"error": "429 Too Many Requests"}'  # put into the shard like this, with its hash
    files[ROW["unlabeled"]] = files[ROW["unlabeled"]][:100]
    files[ROW["deep and wide"]] = files[ROW["deep and wide"]][:16] + files[ROW["deep and wide"]][-12:]
    texts[ROW["upright"]] = "5 10 99999999 3"
    reader = write_dataset(tmp_path / "d", files, texts)
    path = tmp_path / "d" / "shards" / "train-000000.tar"
    content = bytearray(path.read_bytes())
    # The run lengths of an empty mask are never read: the table has that it is empty.
    for offset in (
        reader.table.offset[ROW["square"]] + 700,
        reader.table.rle_offset[ROW["deep"]],
        reader.table.rle_offset[ROW["empty"]],
    ):
        content[offset] ^= 1
    path.write_bytes(content)
    shapes = reader.table.rows.copy()
    shapes[ROW["large"]] += 1
    reader = ShardReader(tmp_path / "d", replace(reader.table, rows=shapes))
    found = find_damaged(reader, ALL, world, workers=3)
    assert list(found) == [
        ROW[name] for name in ("square", "upright", "odd", "deep", "deep and wide", "large", "unlabeled")
    ]
    for row, text in {
        "square": "the jpg member is damaged",
        "deep": "the rle member is damaged",
        "upright": "the mask has the last run ends",
        "odd": "the jpg file is incomplete",
        "large": "the jpg file has the shape (1024, 1024)",
        "unlabeled": "the jpg file is incomplete",
        "deep and wide": "the png file cannot be decoded",
    }.items():
        assert f"image id-{CASES[ROW[row]].name.replace(' ', '-')} in shards/train-000000.tar" in found[ROW[row]]
        assert text in found[ROW[row]], found[ROW[row]]
        assert str(tmp_path) not in found[ROW[row]]


def test_only_the_rows_asked_for_are_read(data: Data, world: World, tmp_path: Path) -> None:
    shutil.copytree(data.reader.dataset, tmp_path / "d")
    (tmp_path / "d" / "shards" / "train-000000.tar").unlink()
    reader = ShardReader(tmp_path / "d", data.table)
    assert find_damaged(reader, ALL[:0], world, workers=1) == {}
    assert list(find_damaged(reader, ALL[2:4], world, workers=1)) == [2, 3]


def test_the_hash_is_of_the_member_and_of_nothing_else(data: Data) -> None:
    for row in range(len(CASES)):
        assert hashlib.sha256(data.reader.image(row)).hexdigest() == data.table.sha256[row].decode()
