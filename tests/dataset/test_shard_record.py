"""The record of a shard that is written: what is in it is checked when it is read."""

import json
from pathlib import Path

import pytest

from pneumo.dataset import paths, shard_record
from pneumo.dataset.plan import ShardPlan
from pneumo.dataset.table import SCHEMA
from pneumo.runtime.errors import UserError

SHARD = ShardPlan("train-000000", ())


def record_text(**fields: object) -> str:
    """Return a record without samples, with other values of some fields."""
    conditions = {"limits": {"time_limit": 60, "memory_limit": 4}, "workers": 1}
    whole = {"rows": [], "quarantined": [], "conditions": conditions}
    return json.dumps(whole | fields)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{}", r"rows is missing"),
        ('{"rows": [], "quarantined": []', "JSONDecodeError"),
        (record_text(more=1), "more is an unknown field"),
        (record_text(quarantined=[{"split": "train"}]), "quarantined.0.file is missing"),
        (record_text(rows=[{"image_id": "1.2"}]), "other columns than those of the table"),
        (record_text(rows=[dict.fromkeys(SCHEMA.names, True)]), "Arrow"),
        (record_text(conditions={"limits": {"time_limit": 0, "memory_limit": 4}, "workers": 1}), "time.limit"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, content: str, found: str) -> None:
    path = paths.shard_record(tmp_path, SHARD.name)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=rf"-000000\.json cannot be read \(.*{found}.*remove it and start the same"):
        shard_record.read(tmp_path, SHARD)


def test_a_shard_counts_as_written_with_its_record_and_its_files(tmp_path: Path) -> None:
    record, *files = (find(tmp_path, SHARD.name) for find in (paths.shard_record, paths.tar, paths.index))
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert not shard_record.is_done(tmp_path, SHARD)
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert shard_record.is_done(tmp_path, SHARD)
    # Without them it is one of which every file was quarantined, as its record must say.
    files[0].unlink()
    with pytest.raises(UserError, match="rows is missing"):
        shard_record.is_done(tmp_path, SHARD)
    record.write_text(record_text())
    assert shard_record.is_done(tmp_path, SHARD)
