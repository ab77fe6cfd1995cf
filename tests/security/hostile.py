"""Files that must not be trusted, and the one line in which each of them is refused."""

import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from pneumo.dataset import paths
from pneumo.runtime.errors import MAX_PART_LENGTH, UserError


def refused(action: Callable[[], object]) -> str:
    """Return the one line in which an action is refused."""
    with pytest.raises(UserError) as raised:
        action()
    text = str(raised.value)
    assert text.isprintable(), "one line, and nothing that steers a terminal"
    assert len(text) < 3 * MAX_PART_LENGTH
    return text


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


def sign_checkpoint(path: Path) -> None:
    """Write a manifest that fits the files, as whoever changes one of them on purpose does."""
    files = [file for file in path.iterdir() if file.name != "manifest.json"]
    entries = {f.name: [f.stat().st_size, hashlib.sha256(f.read_bytes()).hexdigest()] for f in files}
    (path / "manifest.json").write_text(json.dumps(entries))


def change_record(run: Path, place: tuple[str, ...], value: object) -> None:
    """Change one value of a run's recipe.json; ``place`` is the path of keys to it."""
    record = run / "recipe.json"
    content = json.loads(record.read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    record.write_text(json.dumps(content))


def replace_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def change_table(dataset: Path, name: str, value: object) -> None:
    table = pq.read_table(paths.samples(dataset), partitioning=None)
    pq.write_table(replace_column(table, name, [value, *table.column(name).to_pylist()[1:]]), paths.samples(dataset))
