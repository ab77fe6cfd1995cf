"""The pass over the shards: hashes and lesions of good samples, and a note of damaged ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset import paths
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.reporting.explore import hashing
from pneumo.reporting.explore.scan import _factor, scan


def test_every_image_has_a_hash_and_every_positive_one_its_lesions(dataset: Path) -> None:
    table = SampleTable.read(dataset)
    found = scan(ShardReader(dataset, table), workers=2)
    assert len(found) == len(table)
    assert [one.lesions is not None for one in found] == table.positive.tolist()
    assert all(one.hash is not None and one.hash.shape == (hashing.BITS,) and not one.damage for one in found)
    row = int(np.flatnonzero(table.positive)[0])
    lesions = found[row].lesions
    assert lesions is not None
    assert lesions.area == pytest.approx(table.mask_area[row] / table.rows[row] / table.columns[row])


def test_a_damaged_sample_is_noted_and_the_others_are_read(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    table = SampleTable.read(copy)
    shard = paths.shards(copy) / str(table.shard[3])
    content = bytearray(shard.read_bytes())
    content[int(table.offset[3]) + 20] ^= 255
    shard.write_bytes(content)
    found = scan(ShardReader(copy, table), workers=1)
    assert "the jpg member is damaged" in found[3].damage or "the png member is damaged" in found[3].damage
    assert str(copy) not in found[3].damage
    assert found[3].hash is found[3].lesions is None
    assert sum(bool(one.damage) for one in found) == 1


@pytest.mark.parametrize(("side", "factor"), [(1024, 8), (500, 4), (130, 2), (96, 1), (10, 1)])
def test_large_images_are_reduced_while_they_are_decoded(side: int, factor: int) -> None:
    from explore_data import make_table

    reader = ShardReader(Path(), make_table(1, rows=side, columns=2 * side))
    assert _factor(reader, 0) == factor
