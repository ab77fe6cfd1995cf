"""Weight files of others (pickles, safetensors) run no code and are refused in one line."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import PICKLES, raw_pickle, refused
from torch import nn

from pneumo.modeling import weight_files, weights
from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.runtime.files import sha256


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("make", PICKLES)
def test_no_encoder_file_runs_code(tmp_path: Path, make: Callable[[Path], bytes], suffix: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"encoder{suffix}"
    path.write_bytes(make(mark))
    text = refused(lambda: weights.load_encoder(nn.Linear(2, 2), path))
    assert str(path) in text
    assert not mark.exists()


def test_the_pickles_run_code_when_they_are_loaded_without_protection(tmp_path: Path) -> None:
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


def load(network: nn.Module, path: Path) -> None:
    """Load a file as a fold's weights, with the digest that it has, or none where reading it would not end."""
    readable = path.is_file() and path.stat().st_size < 1 << 30
    trained = TrainedWeights(path, sha256=sha256(path) if readable else "", repair="restore the file")
    trained.load(network, trained.read())


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_hostile_tensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert str(path) in refused(lambda: load(nn.Linear(2, 2), path))
    assert str(path) in refused(lambda: weights.load_encoder(nn.Linear(2, 2), path))


def test_a_sparse_file_of_terabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tensors({"weight": f32(1 << 35, end=1 << 37)}))
    os.truncate(path, path.stat().st_size + (1 << 37))
    assert "bytes" in refused(lambda: load(nn.Linear(2, 2), path))


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in refused(lambda: load(nn.Linear(2, 2), tmp_path / name))
    refused(lambda: weight_files.read_state(tmp_path / name))
