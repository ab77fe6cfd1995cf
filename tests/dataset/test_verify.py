"""Every way in which a dataset can be damaged, and the line that reports it."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dataset.verify import check, describe, summary
from pneumo.runtime.errors import UserError, counted

ROW = 5
"""The sample that most tests damage: the second of the second shard, a JPEG."""


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "copy")


def tar_of(dataset: Path, table: SampleTable, row: int = ROW) -> Path:
    return paths.shards(dataset) / str(table.shard[row])


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def issues(dataset: Path) -> list[str]:
    """Check the dataset and the closing lines, and return the lines of the issues."""
    table = SampleTable.read(dataset)
    found = [issue for _, part in check(dataset, table, 2) for issue in part]
    lines = summary(dataset, table, found).splitlines()
    if found:
        files = counted(len({issue.file for issue in found}), "file")
        assert f": {counted(len(found), 'issue')} in {files}, of " in lines[-2]
    else:
        assert lines == [f"{dataset}: 29 images in 8 shards, nothing is damaged"]
    return [describe(issue, table) for issue in found]


def test_an_undamaged_dataset_has_no_issue(built: Path) -> None:
    assert issues(built) == []


def test_files_that_the_table_does_not_name_are_ignored(copy: Path) -> None:
    (copy / "notes.txt").write_text("hello")
    (paths.shards(copy) / "train-999999.tar").write_bytes(b"no tar")
    (paths.shards(copy) / ".nfs0001").touch()
    assert issues(copy) == []


IMAGE = "its jpg member is damaged (the SHA-256 is not the table's)"
HEADER = "the header of its {} member is damaged"


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (lambda t: t.offset[ROW], IMAGE),
        (lambda t: t.offset[ROW] + t.bytes[ROW] // 2, IMAGE),
        (lambda t: t.offset[ROW] + t.bytes[ROW] - 1, IMAGE),
        # The lowest bit of a gap's digit: a mask of the same area, elsewhere.
        (lambda t: t.rle_offset[ROW], "its rle member is damaged (the SHA-256 is not the table's)"),
        (lambda t: t.rle_offset[ROW] + 1024 + 5, "its json member is damaged (the SHA-256 is not the table's)"),
        (lambda t: t.offset[ROW] - 512 + 104, HEADER.format("jpg")),  # mode
        (lambda t: t.offset[ROW] - 512 + 150, HEADER.format("jpg")),  # checksum
        (lambda t: t.rle_offset[ROW] - 512 + 130, HEADER.format("rle")),  # size
        (lambda t: t.rle_offset[ROW] + 512 + 124, HEADER.format("json")),  # size
        (lambda t: t.offset[ROW] + t.bytes[ROW], "the padding of its jpg member is damaged"),
        (lambda t: t.rle_offset[ROW] + 511, "the padding of its rle member is damaged"),
    ],
    ids=[
        *("image start", "image", "image end", "mask", "description", "mode", "checksum", "mask's size"),
        *("description's size", "padding", "mask's padding"),
    ],
)
@pytest.mark.parametrize("bit", [0, 3])
def test_a_flipped_bit_is_found_with_its_shard_and_sample(
    copy: Path, place: Callable[[SampleTable], int], found: str, bit: int
) -> None:
    table = SampleTable.read(copy)
    assert table.image_format[ROW] == "jpg"
    flip(tar_of(copy, table), int(place(table)), bit)
    assert issues(copy) == [f"shards/{table.shard[ROW]}: image {table.image_id[ROW]}: {found}"]


def test_every_bit_of_a_shard_and_of_its_index_counts(copy: Path) -> None:
    table = SampleTable.read(copy)
    tar = tar_of(copy, table)
    generator = np.random.default_rng(1)
    for path in (tar, tar.with_suffix(".idx")):
        content = path.read_bytes()
        for place in generator.choice(len(content), 60, replace=False).tolist():
            flip(path, place, int(generator.integers(8)))
            assert all(line.startswith(f"shards/{path.name}:") for line in issues(copy))
            path.write_bytes(content)
    assert issues(copy) == []


def cut(dataset: Path, table: SampleTable) -> list[str]:
    end = int(table.offset[ROW]) + 10
    os.truncate(tar_of(dataset, table), end)
    return [
        rf"shards/train-000001.tar: image {table.image_id[ROW]}: the shard ends at byte {end}, the sample at \d+",
        rf"shards/train-000001.tar: image {table.image_id[ROW + 1]}: the shard ends at byte {end}, .*",
        rf"shards/train-000001.tar: image {table.image_id[ROW + 2]}: the shard ends at byte {end}, .*",
        rf"shards/train-000001.tar: the shard has {end} bytes, expected \d+",
    ]


def emptied(dataset: Path, table: SampleTable) -> list[str]:
    os.truncate(tar_of(dataset, table), 0)
    return [
        *(rf"shards/train-000001.tar: image {table.image_id[row]}: the shard ends at .*" for row in range(4, 8)),
        r"shards/train-000001.tar: the shard has 0 bytes, expected \d+",
    ]


def lengthened(dataset: Path, table: SampleTable) -> list[str]:
    with tar_of(dataset, table).open("ab") as file:
        file.write(b"more")
    return [r"shards/train-000001.tar: the shard has \d+ bytes, expected \d+"]


def end_gone(dataset: Path, table: SampleTable) -> list[str]:
    flip(tar_of(dataset, table), -1)
    return ["shards/train-000001.tar: the archive's end is damaged"]


def shard_gone(dataset: Path, table: SampleTable) -> list[str]:
    tar_of(dataset, table).unlink()
    return [
        rf"shards/train-000001.tar: image {table.image_id[row]}: the shard cannot be opened: No such file or directory"
        for row in range(4, 8)
    ]


def shard_is_a_pipe(dataset: Path, table: SampleTable) -> list[str]:
    """Opening it would wait for ever."""
    found = shard_gone(dataset, table)
    os.mkfifo(tar_of(dataset, table))
    return found


def index_gone(dataset: Path, table: SampleTable) -> list[str]:
    tar_of(dataset, table).with_suffix(".idx").unlink()
    return ["shards/train-000001.idx: the index cannot be opened: No such file or directory"]


def index_disagrees(dataset: Path, table: SampleTable) -> list[str]:
    path = tar_of(dataset, table).with_suffix(".idx")
    path.write_text(path.read_text().replace(f" {table.offset[ROW]} ", f" {table.offset[ROW] + 512} "))
    return [rf"shards/train-000001.idx: image {table.image_id[ROW]}: line 3 of the index is .*, expected .*"]


def index_counts_wrongly(dataset: Path, table: SampleTable) -> list[str]:
    path = tar_of(dataset, table).with_suffix(".idx")
    path.write_text(path.read_text().replace("v1.2 4", "v1.2 5") + "jpg 0 1 more.jpg\n")
    return [
        "shards/train-000001.idx: line 1 of the index is 'v1.2 5', expected 'v1.2 4'",
        "shards/train-000001.idx: line 6 of the index is 'j', expected 'no line'",
    ]


def shards_swapped(dataset: Path, table: SampleTable) -> list[str]:
    first, second = tar_of(dataset, table, 0), tar_of(dataset, table)
    held = first.read_bytes()
    second.replace(first)
    second.write_bytes(held)
    return [
        rf"shards/{table.shard[row]}: image {table.image_id[row]}: the header of its \w+ member names "
        rf"'{table.wds_key[other]}.\w+', not '{table.wds_key[row]}.\w+'"
        for row, other in [(0, 4), (4, 0)]
    ]


@pytest.mark.parametrize(
    ("damage", "complete"),
    [
        (cut, True),
        (emptied, True),
        (lengthened, True),
        (end_gone, True),
        (shard_gone, True),
        (shard_is_a_pipe, True),
        (index_gone, True),
        (index_disagrees, True),
        (index_counts_wrongly, True),
        (shards_swapped, False),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_file_is_reported_with_every_sample_that_is_lost(
    copy: Path,
    damage: Callable[[Path, SampleTable], list[str]],
    complete: bool,
) -> None:
    expected = damage(copy, SampleTable.read(copy))
    found = issues(copy)
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in found), (pattern, found)
    assert not complete or len(found) == len(expected)


def test_an_offset_that_is_not_the_shards_is_found(copy: Path) -> None:
    """A table that was written wrongly, with its digests; the reader refuses what is at that offset too."""
    table = SampleTable.read(copy)
    offset = table.offset.copy()
    offset[ROW] += 512
    wrong = replace(table, offset=offset)
    wrong.write(copy)
    replace(Manifest.read(copy), samples_digest=wrong.digest()).write(copy)
    (found,) = issues(copy)
    assert re.match(rf"shards/train-000001.tar: image {table.image_id[ROW]}: the table has its members at \[", found)
    with pytest.raises(UserError, match="the jpg member is damaged"):
        ShardReader(copy, wrong).image(ROW)


def other_values(dataset: Path) -> None:
    table = SampleTable.read(dataset)
    replace(table, positive=~table.positive).write(dataset)


def other_order(dataset: Path) -> None:
    table = SampleTable.read(dataset)
    SampleTable(**{name: column[::-1] for name, column in vars(table).items()}).write(dataset)


def other_folds(dataset: Path) -> None:
    table = SampleTable.read(dataset)
    replace(table, fold=np.where(table.fold >= 0, (table.fold + 1) % 3, -1).astype(np.int8)).write(dataset)


def fewer_rows(dataset: Path) -> None:
    table = SampleTable.read(dataset)
    table.exclude(table.image_id[:1].tolist()).write(dataset)


def newer(dataset: Path) -> None:
    path = paths.manifest(dataset)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))


def edited(dataset: Path) -> None:
    path = paths.manifest(dataset)
    path.write_text(path.read_text().replace('"num_folds": 3', '"num_folds": 2'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_values, r"samples\.parquet: not what was written"),
        (other_order, r"samples\.parquet: not what was written"),
        (other_folds, r"samples\.parquet: other folds than those of dataset\.json"),
        (fewer_rows, r"samples\.parquet: 28 rows.*expected the table of 29 rows"),
        (lambda d: paths.samples(d).unlink(), r"samples\.parquet cannot be read"),
        (lambda d: os.truncate(paths.samples(d), 100), r"samples\.parquet cannot be read"),
        (newer, "format version 99; expected format version 4"),
        (edited, r"dataset\.json: not what was written"),
        (lambda d: paths.manifest(d).write_text("[" * 100_000), r"dataset\.json.*a readable dataset\.json"),
        (lambda d: paths.manifest(d).unlink(), r"no dataset\.json"),
    ],
    ids=[
        *("other values", "other order", "other folds", "fewer rows", "no table", "cut table", "newer", "edited"),
        *("bottomless", "no manifest"),
    ],
)
def test_without_an_undamaged_table_nothing_is_verified(
    copy: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(copy)
    with pytest.raises(UserError, match=message):
        issues(copy)


def test_no_flipped_bit_of_the_table_or_of_dataset_json_gets_through(copy: Path) -> None:
    """Either reading is refused, or every value read is equal."""
    before = SampleTable.read(copy)
    generator = np.random.default_rng(2)
    refused = 0
    for path in (paths.samples(copy), paths.manifest(copy)):
        content = path.read_bytes()
        for place in generator.choice(len(content), 200, replace=False).tolist():
            flip(path, place, int(generator.integers(8)))
            try:
                after = SampleTable.read(copy)
            except UserError:
                refused += 1
            else:
                assert after.digest() == before.digest()
                assert np.array_equal(after.fold, before.fold)
        path.write_bytes(content)
    assert refused > 200
