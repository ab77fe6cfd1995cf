"""dataset.json: its fields, and the error of other versions."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import UserError

OLDER = Path(__file__).with_name("dataset_format_2.json")
"""Written by pneumo 0.1.0."""

MANIFEST = Manifest(
    found=9, samples=5, train=4, test=1, positive=2, quarantined=2, unlabeled=1, merged_duplicates=1, missing=0,
    renamed=0, shards=2, patients=3, num_folds=3, fold_seed=0, grouped_by="dicom", digest="a", folds_digest="b",
    samples_digest="c",
)  # fmt: skip


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    content = json.loads(paths.manifest(tmp_path).read_text())
    assert content.keys() - asdict(MANIFEST).keys() == {"sha256"}
    assert content["format_version"] == 3


def test_a_dataset_of_an_older_version_is_one_clear_line(tmp_path: Path) -> None:
    shutil.copy(OLDER, paths.manifest(tmp_path))
    expected = (
        f"{paths.manifest(tmp_path)} has format version 2; expected format version 3;"
        " build it again with job/shard.py, into another directory"
    )
    for read in (Manifest.read, SampleTable.read):
        with pytest.raises(UserError) as caught:
            read(tmp_path)
        assert str(caught.value) == expected


@pytest.mark.parametrize(
    "change",
    [{"found": 8}, {"samples": 6}, {"train": 3}, {"quarantined": -2, "found": 5}, {"num_folds": 128}],
    ids=str,
)
def test_counts_must_add_up(tmp_path: Path, change: dict[str, int]) -> None:
    wrong = replace(MANIFEST, **change)
    assert MANIFEST.adds_up
    assert not wrong.adds_up
    with pytest.raises(AssertionError):
        wrong.write(tmp_path)
    assert not paths.manifest(tmp_path).exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("samples", None, "not what was written"),
        ("sha256", None, "not what was written"),
        ("patients", 4, "not what was written"),
        ("format_version", None, "format version None; expected format version 3"),
    ],
)
def test_a_changed_field_is_found(tmp_path: Path, field: str, value: object, message: str) -> None:
    MANIFEST.write(tmp_path)
    content = json.loads(paths.manifest(tmp_path).read_text())
    if value is None:
        del content[field]
    else:
        content[field] = value
    paths.manifest(tmp_path).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        Manifest.read(tmp_path)
