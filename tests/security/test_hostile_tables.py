"""Datasets of others: Parquet tables of samples and of histograms, and dataset.json."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import change_table, refused, replace_column

from pneumo.dataset import manifest, paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SCHEMA, SampleTable
from pneumo.inference import histograms
from pneumo.inference.histograms import PredictionHistograms
from pneumo.runtime.errors import UserError


def one_image() -> PredictionHistograms:
    counts = np.zeros((1, histograms.BINS), np.int32)
    counts[0, 3] = 100
    return PredictionHistograms(
        image_id=np.array(["a"]), fold=np.zeros(1, np.int16), patient=np.zeros(1, np.int32),
        positive=np.zeros(1, bool), pixels=np.array([100]), presence_probability=np.zeros(1, np.float32),
        inside=np.zeros_like(counts), outside=counts,
    )  # fmt: skip


def columns_of(path: Path) -> pa.Table:
    one_image().write(path)
    return pq.read_table(path)


HISTOGRAMS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "an image twice": lambda t: pa.concat_tables([t, t]),
    "nothing for an id": lambda t: replace_column(t, "image_id", [None]),
    "nothing for a count": lambda t: replace_column(t, "inside", [None]),
    "pixels that do not fit": lambda t: replace_column(t, "pixels", [5]),
    "a column less": lambda t: t.drop_columns(["presence_probability"]),
    "no metadata": lambda t: t.replace_schema_metadata(None),
}


@pytest.mark.parametrize("change", HISTOGRAMS.values(), ids=HISTOGRAMS)
def test_hostile_histograms_are_refused(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = tmp_path / "oof.parquet"
    pq.write_table(change(columns_of(path)), path)
    assert str(path) in refused(lambda: PredictionHistograms.read(path))


def bomb(path: Path, schema: pa.Schema, rows: int) -> None:
    """Write a table of many rows that takes little room: every value is the same."""

    def zeros(kind: pa.DataType, count: int) -> pa.Array:
        if pa.types.is_string(kind):
            return pa.array([""] * count, kind)
        if pa.types.is_fixed_size_list(kind):
            return pa.FixedSizeListArray.from_arrays(zeros(kind.value_type, count * kind.list_size), type=kind)
        return pa.array(np.zeros(count, kind.to_pandas_dtype()), kind)

    chunk = min(rows, 1 << 13)
    table = pa.Table.from_arrays([zeros(field.type, chunk) for field in schema], schema=schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(-(-rows // chunk)):
            writer.write_table(table)


def test_histograms_that_declare_too_many_rows_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "oof.parquet"
    bomb(path, histograms._SCHEMA, 1 << 14)
    monkeypatch.setattr(histograms, "MAX_IMAGES", (1 << 14) - 1)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("unpacked"))
    assert "16384 rows" in refused(lambda: PredictionHistograms.read(path))


@pytest.fixture
def own_dataset(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "dataset")


TABLES = {
    "climbs": ("shard", "../../../../etc/passwd"),
    "climbs and comes back": ("shard", "../shards/train-000000.tar"),
    "absolute": ("shard", "/etc/passwd"),
    "hidden": ("shard", ".train-000000.tar"),
    "no name": ("shard", ""),
    "null byte": ("shard", "train-000000.tar\0"),
    "line break": ("shard", "train-000000.tar\n"),
    "before the start": ("offset", -1),
    "beyond any disk": ("offset", 1 << 62),
    "no bytes": ("bytes", 0),
    "more bytes than memory": ("bytes", 1 << 60),
    "negative bytes": ("bytes", -5),
    "mask before the start": ("rle_offset", -7),
    "a mask of more than memory": ("rle_bytes", 1 << 60),
    "no rows": ("rows", 0),
    "2**31 - 1 columns": ("columns", (1 << 31) - 1),
    "a fold below": ("fold", -2),
    "an id of a megabyte": ("image_id", "x" * 1_000_000),
    "nothing": ("wds_key", None),
}


@pytest.mark.parametrize(("name", "value"), TABLES.values(), ids=TABLES)
def test_hostile_tables_are_refused(own_dataset: Path, name: str, value: object) -> None:
    if value is None:
        table = pq.read_table(paths.samples(own_dataset), partitioning=None)
        place = table.schema.get_field_index(name)
        field = pa.field(name, pa.string(), nullable=False)
        table = table.set_column(place, field, pa.array([None, *table.column(name).to_pylist()[1:]]))
        with pytest.raises((pa.ArrowException, UserError)):
            pq.write_table(table, paths.samples(own_dataset))
            SampleTable.read(own_dataset)
        return
    change_table(own_dataset, name, value)
    assert name in refused(lambda: SampleTable.read(own_dataset))


def test_a_table_of_too_many_rows_is_not_unpacked(own_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb(paths.samples(own_dataset), SCHEMA, 1 << 17)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("unpacked"))
    assert "131072 rows" in refused(lambda: SampleTable.read(own_dataset))


@pytest.fixture
def in_time() -> Iterator[None]:
    """Fail a test that waits for a pipe's writer."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("waits"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("in_time")
def test_a_pipe_instead_of_a_table_is_refused(own_dataset: Path, tmp_path: Path) -> None:
    paths.samples(own_dataset).unlink()
    os.mkfifo(paths.samples(own_dataset))
    assert "samples.parquet is not a regular file" in refused(lambda: SampleTable.read(own_dataset))
    os.mkfifo(tmp_path / "oof.parquet")
    assert "oof.parquet is not a regular file" in refused(lambda: PredictionHistograms.read(tmp_path / "oof.parquet"))


def test_tables_of_terabytes_are_refused(own_dataset: Path, tmp_path: Path) -> None:
    for path in (paths.samples(own_dataset), tmp_path / "oof.parquet"):
        path.touch()
        os.truncate(path, 1 << 40)
    assert "more than 8589934592 bytes" in refused(lambda: SampleTable.read(own_dataset))
    assert "more than 8589934592 bytes" in refused(lambda: PredictionHistograms.read(tmp_path / "oof.parquet"))


MANIFEST_FIELDS: dict[str, tuple[str, object, str]] = {
    "samples as a string": ("samples", "38", "samples"),
    "negative": ("quarantined", -1, "quarantined is -1; expected 0 to 1000000000000"),
    "does not add up": ("found", 10**12, "counts that do not add up"),
    "huge": ("samples", 10**400, "dataset.json"),
    "folds": ("num_folds", 10**9, "num_folds is 1000000000; expected 2 to 127"),
    "grouped by": ("grouped_by", "name", "grouped_by"),
    "digest": ("digest", ["a"], "digest"),
}


@pytest.mark.parametrize(("field", "value", "message"), MANIFEST_FIELDS.values(), ids=MANIFEST_FIELDS)
def test_hostile_manifests_are_refused(own_dataset: Path, field: str, value: object, message: str) -> None:
    """Whoever changes a field on purpose writes the SHA-256 that fits."""
    path = paths.manifest(own_dataset)
    content = {**json.loads(path.read_text()), field: value}
    content.pop(manifest._CHECK)
    path.write_text(json.dumps({**content, manifest._CHECK: manifest._sha256(content)}))
    assert message in refused(lambda: Manifest.read(own_dataset))
