"""dataset.json: its fields, and the error of other versions."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pneumo.dataset import manifest, paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import UserError
from pneumo.training.run_directory import EXPORTED_FILE, RECIPE_FILE

OLDER = Path(__file__).with_name("dataset_format_2.json")
"""Written by pneumo 0.1.0."""

MANIFEST = Manifest(
    found=9, samples=5, train=4, test=1, positive=2, quarantined=1, left_out=1, unlabeled=1, merged_duplicates=1,
    missing=0, renamed=0, shards=2, patients=3, num_folds=3, fold_seed=0, grouped_by="dicom", id_source="uid",
    digest="a",
    folds_digest="b", samples_digest="c",
)  # fmt: skip


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    content = json.loads(paths.manifest(tmp_path).read_text())
    assert content.keys() - asdict(MANIFEST).keys() == {"sha256"}
    assert content["format_version"] == 4


def test_a_dataset_of_an_older_version_is_one_clear_line(tmp_path: Path) -> None:
    shutil.copy(OLDER, paths.manifest(tmp_path))
    expected = (
        f"{paths.manifest(tmp_path)} has format version 2; expected format version 4;"
        " build it again with job/shard.py, into another directory"
    )
    for read in (Manifest.read, SampleTable.read):
        with pytest.raises(UserError) as caught:
            read(tmp_path)
        assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"found": 8}, "counts that do not add up"),
        ({"samples": 6}, "counts that do not add up"),
        ({"train": 3}, "counts that do not add up"),
        ({"positive": 5}, "counts that do not add up"),
        ({"quarantined": -2, "found": 5}, "quarantined -2; expected 0 to"),
        ({"num_folds": 128}, "num-folds 128; expected 2 to 127"),
        *(({name: -1}, "-1; expected 0 to") for name in ("patients", "missing", "renamed", "shards", "fold_seed")),
    ],
    ids=str,
)
def test_counts_are_in_their_ranges_and_add_up(change: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(MANIFEST, **change)


@pytest.mark.parametrize(("file", "kind"), [(RECIPE_FILE, "a run"), (EXPORTED_FILE, "an exported model")])
def test_a_run_or_a_model_given_as_a_dataset_is_called_so(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / file).touch()
    for read in (Manifest.read, SampleTable.read):
        with pytest.raises(UserError) as caught:
            read(tmp_path)
        assert str(caught.value) == (
            f"{tmp_path}: no dataset.json: this is {kind}; expected the directory given to job/shard.py as --out; give"
            f" the directory of the dataset, not that of {kind}"
        )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("samples", None, "not what was written"),
        ("sha256", None, "not what was written"),
        ("patients", 4, "not what was written"),
        ("format_version", None, "format version None; expected format version 4"),
    ],
)
def test_a_changed_field_is_found(tmp_path: Path, field: str, value: object, message: str) -> None:
    change(tmp_path, field, value)
    with pytest.raises(UserError, match=message):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("samples", None, "samples is missing"),
        ("patients", -1, "patients is -1; expected 0 to"),
        ("train", 3, "counts that do not add up"),
        ("weight", 1, "weight is an unknown field"),
    ],
)
def test_a_document_of_another_writer_is_checked_too(tmp_path: Path, field: str, value: object, message: str) -> None:
    """One whose SHA-256 fits."""
    content = change(tmp_path, field, value)
    del content["sha256"]
    paths.manifest(tmp_path).write_text(json.dumps({**content, "sha256": manifest._sha256(content)}))
    with pytest.raises(UserError, match=rf"dataset\.json.*{message}"):
        Manifest.read(tmp_path)


def change(dataset: Path, field: str, value: object) -> dict[str, object]:
    """Write a dataset.json with a field changed, or removed by None; return its content."""
    MANIFEST.write(dataset)
    content: dict[str, object] = json.loads(paths.manifest(dataset).read_text())
    content[field] = value
    if value is None:
        del content[field]
    paths.manifest(dataset).write_text(json.dumps(content))
    return content
