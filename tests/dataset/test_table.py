import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pneumo.dataset import paths
from pneumo.dataset.folds import digest
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SCHEMA, SampleTable
from pneumo.runtime.errors import UserError


def row(number: int, **changes: object) -> dict:
    return {
        "image_id": f"1.2.{number}", "wds_key": f"1-2-{number}", "split": "train", "fold": number % 3,
        "patient": number,
        "rows": 1024, "columns": 900, "row_spacing_mm": 0.143, "column_spacing_mm": math.nan, "view": "PA", "sex": "",
        "modality": "CR", "body_part": "CHEST", "presentation_intent": "",
        "age_years": -1, "transfer_syntax": "1.2.840.10008.1.2.4.50", "was_monochrome1": False,
        "positive": number % 2 == 0,
        "mask_area": 5, "shard": "train-000000.tar", "image_format": "jpg", "offset": 512, "bytes": 100,
        "rle_offset": 1536, "rle_bytes": 2, "json_bytes": 7, "sha256": "ab" * 32, "rle_sha256": "cd" * 32,
        "json_sha256": "ef" * 32, "render_notes": "",
        **changes,
    }  # fmt: skip


def manifest(table: SampleTable) -> Manifest:
    samples = len(table)
    return Manifest(
        found=samples, samples=samples, train=samples, test=0, positive=0, quarantined=0, left_out=0, unlabeled=0,
        merged_duplicates=0, missing=0, renamed=0, shards=1, patients=samples, num_folds=3, fold_seed=0,
        grouped_by="none", id_source="uid", digest="d", folds_digest=digest(table.column("image_id"), table.fold),
        samples_digest=table.digest(),
    )  # fmt: skip


@pytest.fixture
def table() -> SampleTable:
    test = {
        "split": "test",
        "fold": -1,
        "positive": False,
        "mask_area": -1,
        "rle_offset": -1,
        "rle_bytes": 0,
        "rle_sha256": "",
    }
    return SampleTable.from_rows([*(row(n) for n in range(6)), row(6, **test)])


@pytest.fixture
def dataset(tmp_path: Path, table: SampleTable) -> Path:
    table.write(tmp_path)
    manifest(table).write(tmp_path)
    return tmp_path


def test_table_comes_back_as_it_was_written(dataset: Path, table: SampleTable) -> None:
    again = SampleTable.read(dataset)
    assert len(again) == 7
    for name in SCHEMA.names:
        before, after = getattr(table, name), getattr(again, name)
        assert before.dtype == after.dtype, name
        np.testing.assert_array_equal(before, after, err_msg=name)
    assert again.fold.dtype == np.int8
    assert again.transfer_syntax.dtype == np.dtypes.StringDType()
    assert again.split.dtype == np.dtype("U5")
    assert again.split.tolist() == ["train"] * 6 + ["test"]
    assert (str(again.image_id[0]), again.sha256[0], again.rle_sha256[6]) == ("1.2.0", b"ab" * 32, b"")


def test_same_table_same_bytes(dataset: Path, table: SampleTable, tmp_path: Path) -> None:
    first = paths.samples(dataset).read_bytes()
    table.write(tmp_path)
    assert paths.samples(tmp_path).read_bytes() == first


def test_other_programs_can_read_it(dataset: Path) -> None:
    frame = pq.read_table(paths.samples(dataset))
    assert frame.column("image_id").to_pylist()[:2] == ["1.2.0", "1.2.1"]
    assert frame.schema.metadata[b"pneumo.format_version"] == b"4"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"split": "train"}, [0, 1, 2, 3, 4, 5]),
        ({"split": "test"}, [6]),
        ({"split": "train", "folds": [1]}, [1, 4]),
        ({"split": "train", "folds": {0, 2}}, [0, 2, 3, 5]),
        ({"split": "train", "folds": []}, []),
        ({"split": "test", "folds": [0]}, []),
    ],
    ids=str,
)
def test_select(table: SampleTable, conditions: dict, expected: list[int]) -> None:
    found = table.select(**conditions)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_shapes_are_height_and_width_by_image_id() -> None:
    table = SampleTable.from_rows([row(0), row(1, rows=10, columns=20), row(1, split="test", rows=30, columns=40)])
    assert table.shapes(table.select("train")) == {"1.2.0": (1024, 900), "1.2.1": (10, 20)}
    assert table.shapes(table.select("test")) == {"1.2.1": (30, 40)}
    assert table.shapes(table.select("train")[:0]) == {}


def test_exclude_leaves_out_training_images_only(table: SampleTable) -> None:
    left = table.exclude(["1.2.1", "1.2.4", "1.2.6", "unknown"])
    assert left.image_id.tolist() == ["1.2.0", "1.2.2", "1.2.3", "1.2.5", "1.2.6"]
    assert left.split.tolist() == ["train"] * 4 + ["test"]
    assert len(table.exclude([])) == len(table) == 7


def test_the_digest_is_of_every_value_but_the_folds(table: SampleTable) -> None:
    assert replace(table, fold=table.fold[::-1].copy()).digest() == table.digest()
    digests = {table.digest()}
    for name in SCHEMA.names:
        column = getattr(table, name).copy()
        if name != "fold":
            column[3] = {"b": not column[3], "T": "x", "U": "x", "S": b"x"}.get(column.dtype.kind, 77)
            digests.add(replace(table, **{name: column}).digest())
    assert len(digests) == len(SCHEMA.names)


def test_the_digest_is_the_sha256_of_all_columns_however_many_pieces(
    table: SampleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hashlib.sha256()
    for name in SCHEMA.names:
        column = getattr(table, name)
        if column.dtype.kind in "TSU":
            text = "\n".join(value if isinstance(value, str) else value.decode() for value in column.tolist())
            content = text.encode()
        else:
            content = column.tobytes()
        if name != "fold":
            expected.update(f"{name} {len(content)}\n".encode() + content)
    for piece in (1, 3, 7, 1000):
        monkeypatch.setattr("pneumo.dataset.table_columns._PIECE", piece)
        assert table.digest() == expected.hexdigest()


def test_digests_of_other_lengths_are_kept_as_they_are() -> None:
    table = SampleTable.from_rows([row(0, sha256="ab"), row(1, sha256=""), row(2)])
    assert table.sha256.tolist() == [b"ab", b"", b"ab" * 32]


def test_empty_table() -> None:
    assert len(SampleTable.from_rows([])) == 0
    assert SampleTable.from_rows([]).select("train").tolist() == []


def test_a_missing_and_an_unfinished_dataset_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no dataset\.json"):
        SampleTable.read(tmp_path)
    paths.build(tmp_path).mkdir()
    with pytest.raises(UserError, match=r"not finished.*start the same job/shard.py"):
        SampleTable.read(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (paths.MANIFEST, "{", "dataset.json"),
        (paths.MANIFEST, "[]", "a JSON list, not an object"),
        (paths.MANIFEST, '{"format_version": 99}', "format version 99; expected format version 4"),
        (paths.MANIFEST, '{"format_version": 4}', "not what was written"),
        (paths.SAMPLES, "PAR1 torn", "cannot be read.*the table of 7 rows"),
        (paths.SAMPLES, None, "cannot be read.*the table of 7 rows"),
    ],
    ids=["torn", "no object", "newer", "field gone", "torn table", "no table"],
)
def test_damaged_dataset_is_an_error_of_the_user(dataset: Path, file: str, content: str | None, message: str) -> None:
    (dataset / file).unlink()
    if content is not None:
        (dataset / file).write_text(content)
    with pytest.raises(UserError, match=message):
        SampleTable.read(dataset)


def test_table_of_another_dataset_is_refused(dataset: Path) -> None:
    SampleTable.from_rows([row(0)]).write(dataset)
    with pytest.raises(UserError, match=r"1 rows.*expected the table of 7 rows"):
        SampleTable.read(dataset)
