"""Weights files: every kind that people have is read alike, and a damaged one is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pneumo.modeling import weight_files
from pneumo.modeling.weight_files import read_state
from pneumo.runtime.errors import UserError

STATE = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.pth", torch.save),
        ("w.pt", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
        ("w.safetensors", save_file),
    ],
)
def test_a_state_dict_is_read_from_every_kind_of_file(
    tmp_path: Path, name: str, write: Callable[[dict[str, Any], Path], None]
) -> None:
    write(STATE, tmp_path / name)
    read = read_state(tmp_path / name)
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[key], STATE[key]) for key in STATE)


def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read"):
        read_state(path)


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_HEADER_BYTES"])
def test_a_file_beyond_a_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(STATE, path)
    assert read_state(path).keys() == STATE.keys()
    monkeypatch.setattr(weight_files, limit, 10)
    with pytest.raises(UserError, match=r"cannot be read: ValueError: .*\d+ bytes"):
        read_state(path)


def test_written_tensors_are_read_again_whatever_their_memory_format(tmp_path: Path) -> None:
    tensors = {
        "a": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "b": torch.rand(3, requires_grad=True),
    }
    (tmp_path / "w.safetensors").write_bytes(weight_files.to_safetensors(tensors))
    read = weight_files.read_safetensors(tmp_path / "w.safetensors")
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert read["a"].is_contiguous()
