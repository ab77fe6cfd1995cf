"""Files from strangers: encoder weights, checkpoints, runs and datasets run no code and are refused in one line."""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from security_chain import JOB, Chain
from torch import nn

from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SCHEMA, SampleTable
from pneumo.inference import histograms
from pneumo.inference.ensembler import load_weights
from pneumo.inference.histograms import PredictionHistograms
from pneumo.modeling import weights
from pneumo.runtime.errors import LONGEST_PART, UserError
from pneumo.training import checkpoint, run_directory
from pneumo.training.finish import read_rule
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity, RunDirectory


def refused(action: Callable[[], object]) -> str:
    """Return the one line in which an action is refused."""
    with pytest.raises(UserError) as raised:
        action()
    text = str(raised.value)
    assert text.isprintable(), "one line, and nothing that steers a terminal"
    assert len(text) < 3 * LONGEST_PART
    return text


# -- files of weights -------------------------------------------------------------------------------------------------


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def raw_pickle(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def saved(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "state_dict": Bomb(mark)}, buffer)
    return buffer.getvalue()


def saved_in_the_old_format(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": Bomb(mark)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def legacy_tar(mark: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(raw_pickle(mark))
            tar.addfile(info, io.BytesIO(raw_pickle(mark)))
    return buffer.getvalue()


def torch_script(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def whole_module(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(nn.Linear(2, 2), buffer)
    return buffer.getvalue()


def deep_pickle(mark: Path) -> bytes:
    return b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b"."


PICKLES = [raw_pickle, saved, saved_in_the_old_format, legacy_tar, torch_script, whole_module, deep_pickle]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("make", PICKLES)
def test_no_encoder_file_runs_code(tmp_path: Path, make: Callable[[Path], bytes], suffix: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"encoder{suffix}"
    path.write_bytes(make(mark))
    text = refused(lambda: weights.load_encoder(nn.Linear(2, 2), path))
    assert str(path) in text
    assert not mark.exists()


def test_the_bomb_would_go_off(tmp_path: Path) -> None:
    pickle.loads(raw_pickle(tmp_path / "mark"))
    assert (tmp_path / "mark").exists()


def tensors(entries: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with a header as it is given."""
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def f32(*shape: int, start: int = 0, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


HEADERS = {
    "empty file": b"",
    "no header": struct.pack("<Q", 8),
    "header of 2**60 bytes": tensors({}, length=1 << 60),
    "header of 2**64 - 1 bytes": tensors({}, length=(1 << 64) - 1),
    "100 MB of JSON": tensors(b"{" + b" " * 99_000_000 + b"}"),
    "deep JSON": tensors(b"[" * 200_000 + b"]" * 200_000),
    "no JSON": tensors(b"not JSON at all"),
    "terabytes": tensors({"weight": f32(1 << 40, end=1 << 42)}),
    "a product beyond 64 bits": tensors({"weight": f32(1 << 62, 8, end=4)}, b"\0" * 4),
    "shape and offsets disagree": tensors({"weight": f32(2, end=4)}, b"\0" * 4),
    "overlapping": tensors({"weight": f32(1, end=4), "bias": f32(1, start=2, end=6)}, b"\0" * 6),
    "a gap": tensors({"weight": f32(1, end=4), "bias": f32(1, start=8, end=12)}, b"\0" * 12),
    "backwards": tensors({"weight": f32(1, start=4, end=0)}, b"\0" * 4),
    "beyond the file": tensors({"weight": f32(8, end=32)}, b"\0" * 4),
    "bytes left over": tensors({"weight": f32(1, end=4)}, b"\0" * 400),
    "unknown type": tensors({"weight": {"dtype": "F1024", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "negative shape": tensors({"weight": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "no object": tensors({"weight": 5}),
    "another shape": tensors({"weight": f32(1, end=4)}, b"\0" * 4),
    "nothing, of an absurd shape": tensors({"weight": f32(0, 1 << 62, end=0)}),
    "a name that steers the terminal": tensors({"\x1b[2J\n\x1b[31mgone": f32(1, end=4)}, b"\0" * 4),
    "a name of a megabyte": tensors({"x" * 1_000_000: f32(1, end=4)}, b"\0" * 4),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_hostile_tensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert str(path) in refused(lambda: load_weights(nn.Linear(2, 2), path))
    assert str(path) in refused(lambda: weights.load_encoder(nn.Linear(2, 2), path))


def test_a_file_of_terabytes_that_takes_no_room_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tensors({"weight": f32(1 << 35, end=1 << 37)}))
    os.truncate(path, path.stat().st_size + (1 << 37))
    assert "bytes" in refused(lambda: load_weights(nn.Linear(2, 2), path))


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "no regular file" in refused(lambda: load_weights(nn.Linear(2, 2), tmp_path / name))
    refused(lambda: weights.read_state(tmp_path / name))


# -- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved_checkpoint(tmp_path: Path) -> Path:
    snapshot = checkpoint.Snapshot(step=3, epoch=1, weights={"model": {"w": torch.zeros(2)}}, optimizer={}, state={})
    return checkpoint.save(tmp_path / "checkpoints", snapshot)


def rewrite_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    changed = change(manifest)
    file.write_text(json.dumps(manifest if changed is None else changed))


def sign(path: Path) -> None:
    """Make a manifest that fits the files, as whoever changes one on purpose does."""
    import hashlib

    files = [file for file in path.iterdir() if file.name != "manifest.json"]
    entries = {f.name: [f.stat().st_size, hashlib.sha256(f.read_bytes()).hexdigest()] for f in files}
    (path / "manifest.json").write_text(json.dumps(entries))


MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "climbs": lambda m: m.update({"../../x": [1, "a"]}),
    "absolute": lambda m: m.update({"/etc/passwd": [1, "a"]}),
    "hidden": lambda m: m.update({".bashrc": [1, "a"]}),
    "a number": lambda m: m.update({"state.json": 5}),
    "three values": lambda m: m.update({"state.json": [1, "a", 2]}),
    "size as text": lambda m: m.update({"state.json": ["1", "a"]}),
    "a list": lambda m: [1],
    "null": lambda m: {"state.json": None},
    "another set of weights": lambda m: m.pop("model.safetensors") and None,
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS)
def test_a_hostile_manifest_is_a_damaged_checkpoint(saved_checkpoint: Path, change: Callable[..., object]) -> None:
    rewrite_manifest(saved_checkpoint, change)
    assert checkpoint.verify(saved_checkpoint)
    assert checkpoint.latest(saved_checkpoint.parent) is None


def test_a_manifest_reads_nothing_outside(saved_checkpoint: Path) -> None:
    """A named pipe outside would be waited for if it were opened."""
    os.mkfifo(saved_checkpoint.parent / "outside")
    rewrite_manifest(saved_checkpoint, lambda m: m.update({"../outside": [0, "a"]}))
    assert "names '../outside'" in checkpoint.verify(saved_checkpoint)


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, '{"a":' * 100_000, "1" * 10_000, "\xff", ""])
def test_deep_and_damaged_json_is_a_damaged_checkpoint(saved_checkpoint: Path, text: str) -> None:
    (saved_checkpoint / "manifest.json").write_text(text, encoding="latin-1")
    assert "manifest.json" in checkpoint.verify(saved_checkpoint)


STATES = ["[]", "{}", '{"step": "3", "epoch": 1}', '{"step": 3}', "[" * 100_000, '{"step": 1e400, "epoch": 1}', "x"]


@pytest.mark.parametrize("text", STATES, ids=range(len(STATES)))
def test_a_hostile_state_with_a_manifest_that_fits_is_refused(saved_checkpoint: Path, text: str) -> None:
    (saved_checkpoint / "state.json").write_text(text)
    sign(saved_checkpoint)
    assert checkpoint.verify(saved_checkpoint) == ""
    assert str(saved_checkpoint) in refused(lambda: checkpoint.load(saved_checkpoint))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", PICKLES)
def test_a_hostile_optimizer_runs_no_code(saved_checkpoint: Path, tmp_path: Path, make: Callable[..., bytes]) -> None:
    mark = tmp_path / "mark"
    (saved_checkpoint / "optimizer.pt").write_bytes(make(mark))
    sign(saved_checkpoint)
    refused(lambda: checkpoint.load(saved_checkpoint))
    assert not mark.exists()


# -- runs -------------------------------------------------------------------------------------------------------------

IDENTITY = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=3, grouped_by="dicom", patients=9)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return run_directory.create(tmp_path / "run", debug(), IDENTITY)


def change_record(run: RunDirectory, place: tuple[str, ...], value: object) -> None:
    record = run.path / "recipe.json"
    content = json.loads(record.read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    record.write_text(json.dumps(content))


RECORDS: dict[str, tuple[tuple[str, ...], object]] = {
    "recipe is a list": (("recipe",), []),
    "recipe is null": (("recipe",), None),
    "dataset is text": (("dataset",), "x"),
    "dataset without fields": (("dataset",), {}),
    "dataset with more": (("dataset", "more"), 1),
    "a thousand million folds": (("dataset", "folds"), 10**9),
    "no fold": (("dataset", "folds"), 0),
    "folds below nothing": (("dataset", "folds"), -1),
    "folds as text": (("dataset", "folds"), "5"),
    "folds as a fraction": (("dataset", "folds"), 5.5),
    "folds as truth": (("dataset", "folds"), True),
    "digest as a number": (("dataset", "digest"), 5),
    "seed as text": (("recipe", "seed"), "0"),
    "huge seed": (("recipe", "seed"), 10**400),
    "epochs as a number": (("recipe", "epochs"), 1),
    "epochs as texts": (("recipe", "epochs"), ["1"]),
    "no epochs": (("recipe", "epochs"), []),
    "huge image": (("recipe", "image_size"), [10**9]),
    "batch as text": (("recipe", "batch_size"), "16"),
    "optimiser unknown": (("recipe", "optimizer"), "__import__('os')"),
    "optimiser as a list": (("recipe", "optimizer"), ["adam"]),
    "views unknown": (("recipe", "tta"), ["../../x"]),
    "views as text": (("recipe", "tta"), "hflip"),
    "compile as a number": (("recipe", "compile"), 1),
    "encoder unknown": (("recipe", "model", "encoder"), "../../evil"),
    "encoder of the hub": (("recipe", "model", "encoder"), "tu-hf_hub:evil/model"),
    "unknown variant of an encoder": (("recipe", "model", "encoder"), "tu-resnet18.evil"),
    "encoder that climbs": (("recipe", "model", "encoder"), "tu-resnet18.../../x"),
    "encoder as a number": (("recipe", "model", "encoder"), 5),
    "model is text": (("recipe", "model"), "unet"),
    "unknown field": (("recipe", "\x1b[2J\nfield"), 1),
    "field of a megabyte": (("recipe", "x" * 1_000_000), 1),
    "newer": (("format_version",), 99),
    "version is a list": (("format_version",), [1]),
}


@pytest.mark.parametrize(("place", "value"), RECORDS.values(), ids=RECORDS)
def test_a_hostile_record_is_refused(run: RunDirectory, place: tuple[str, ...], value: object) -> None:
    change_record(run, place, value)
    refused(lambda: run_directory.load(run.path))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[]", "5", "", "\x00", '{"format_version": 1}', "1" * 9_999]
)
def test_a_record_that_is_no_record_is_refused(run: RunDirectory, text: str) -> None:
    (run.path / "recipe.json").write_text(text)
    refused(lambda: run_directory.load(run.path))


def test_a_record_of_gigabytes_or_a_pipe_is_refused(run: RunDirectory) -> None:
    os.truncate(run.path / "recipe.json", 1 << 40)
    assert "more than" in refused(lambda: run_directory.load(run.path))
    (run.path / "recipe.json").unlink()
    os.mkfifo(run.path / "recipe.json")
    assert "no regular file" in refused(lambda: run_directory.load(run.path))


@pytest.mark.parametrize("place", ["fold-0", "fold-1/checkpoints", "fold-1/model.safetensors", "thresholds.json"])
def test_links_out_of_a_run_are_refused(run: RunDirectory, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = run.path / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    assert f"{link} is a symbolic link that leads out" in refused(lambda: run_directory.load(run.path))


def test_links_within_a_run_and_to_a_run_are_followed(run: RunDirectory, tmp_path: Path) -> None:
    (run.path / "fold-0").mkdir()
    (run.path / "fold-1").symlink_to("fold-0")
    (run.path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(run.path)
    assert run_directory.load(tmp_path / "link").dataset == IDENTITY


RULES = {
    "missing": {},
    "a list": [],
    "text": "x",
    "texts": {"top_threshold": "x", "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "not a number": {"top_threshold": float("nan"), "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "infinite": {"top_threshold": float("inf"), "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "infinite area": {"top_threshold": 0.5, "min_area": float("inf"), "bottom_threshold": 0.5, "presence_threshold": 0},
    "huge": {"top_threshold": 10**400, "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "upside down": {"top_threshold": 0.2, "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "nothing": {"top_threshold": 0.0, "min_area": 0, "bottom_threshold": 0.0, "presence_threshold": 0},
    "nested": {"top_threshold": [[[[0.5]]]], "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "long": {"x" * 1_000_000: 1},
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_hostile_thresholds_are_refused(run: RunDirectory, rule: object) -> None:
    run.thresholds.write_text(json.dumps({"format_version": 1, "rule": rule}))
    refused(lambda: read_rule(run))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{}", "x"])
def test_thresholds_that_are_none_are_refused(run: RunDirectory, text: str) -> None:
    run.thresholds.write_text(text)
    refused(lambda: read_rule(run))


# -- evidence and tables ----------------------------------------------------------------------------------------------


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


def replaced(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


EVIDENCE: dict[str, Callable[[pa.Table], pa.Table]] = {
    "an image twice": lambda t: pa.concat_tables([t, t]),
    "nothing for an id": lambda t: replaced(t, "image_id", [None]),
    "nothing for a count": lambda t: replaced(t, "inside", [None]),
    "pixels that do not fit": lambda t: replaced(t, "pixels", [5]),
    "a column less": lambda t: t.drop_columns(["presence_probability"]),
    "no metadata": lambda t: t.replace_schema_metadata(None),
}


@pytest.mark.parametrize("change", EVIDENCE.values(), ids=EVIDENCE)
def test_hostile_evidence_is_refused(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
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


def test_evidence_that_declares_too_many_rows_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "oof.parquet"
    bomb(path, histograms._SCHEMA, 1 << 14)
    monkeypatch.setattr(histograms, "MOST_IMAGES", (1 << 14) - 1)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("unpacked"))
    assert "too many rows" in refused(lambda: PredictionHistograms.read(path))


@pytest.fixture
def own_dataset(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "dataset")


def change_table(dataset: Path, name: str, value: object) -> None:
    table = pq.read_table(paths.samples(dataset), partitioning=None)
    pq.write_table(replaced(table, name, [value, *table.column(name).to_pylist()[1:]]), paths.samples(dataset))


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


MANIFEST_FIELDS: dict[str, tuple[str, object]] = {
    "samples as text": ("samples", "38"),
    "negative": ("quarantined", -1),
    "does not add up": ("found", 10**12),
    "huge": ("samples", 10**400),
    "folds": ("folds", 10**9),
    "grouped by": ("grouped_by", "name"),
    "digest": ("digest", ["a"]),
}


@pytest.mark.parametrize(("field", "value"), MANIFEST_FIELDS.values(), ids=MANIFEST_FIELDS)
def test_hostile_manifests_are_refused(own_dataset: Path, field: str, value: object) -> None:
    path = paths.manifest(own_dataset)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    refused(lambda: Manifest.read(own_dataset))


# -- through the commands ---------------------------------------------------------------------------------------------


def last_line(said: str) -> str:
    assert "Traceback" not in said, said
    return said.splitlines()[-1]


@pytest.fixture
def stolen(chain: Chain, tmp_path: Path) -> Path:
    """A copy of a finished run, for a stranger to change."""
    return shutil.copytree(chain.out / "run", tmp_path / "run")


def test_predict_refuses_a_run_whose_weights_are_code(chain: Chain, stolen: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    change_record(run_directory.load(stolen), ("recipe", "model", "encoder_weights"), str(tmp_path / "evil.pth"))
    os.mkfifo(tmp_path / "evil.pth")  # what a run names is not opened, or this would never end
    (stolen / "fold-1" / "model.safetensors").write_bytes(saved(mark))
    words = (JOB / "predict.py", "--run", stolen, "--dicom", chain.planted.test, "--out", tmp_path / "out")
    line = last_line(chain.commands.run("hostile predict", *words, expect=2))
    assert str(stolen / "fold-1" / "model.safetensors") in line
    assert not mark.exists()
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert left == ["quarantine.csv"], "no shards of patients stay behind"


def test_ensemble_refuses_a_dataset_that_names_other_files(chain: Chain, tmp_path: Path) -> None:
    own = shutil.copytree(chain.out / "dataset", tmp_path / "dataset")
    change_table(own, "shard", "../../../../etc/passwd")
    words = (JOB / "ensemble.py", "--runs", chain.out / "run", "--dataset", own, "--out", tmp_path / "s.csv")
    assert "a shard named '../../../../etc/passwd'" in last_line(chain.commands.run("hostile", *words, expect=2))


def test_training_refuses_to_go_on_from_a_checkpoint_with_code(chain: Chain, stolen: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (stolen / "fold-0" / "fold.json").unlink()
    newest = checkpoint.latest(stolen / "fold-0" / "checkpoints")
    assert newest is not None
    (newest / "optimizer.pt").write_bytes(saved(mark))
    sign(newest)
    words = [JOB / "train.py", "--dataset", chain.out / "dataset", "--run", stolen, "--recipe", "debug"]
    words += ["--epochs", 1, "--image-size", 32, "--checkpoint-every", 2]
    line = last_line(chain.commands.run("hostile train", *words, expect=2))
    assert f"{newest} cannot be taken up" in line
    assert not mark.exists()
