"""Weights files: every kind that people have is read alike, and a damaged one is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

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


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (lambda: torch.ones(3).to_sparse(), "of layout sparse_coo"),
        (lambda: torch.ones(3, dtype=torch.complex64), "of complex64"),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), "of float8_e4m3fn"),
        (lambda: torch.full((3,), torch.nan).to(torch.float8_e4m3fn), "of float8_e4m3fn"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "of qint8"),
        (lambda: torch.ones(3, device="meta"), "without values"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
    ],
    ids=["sparse", "complex", "float8", "float8 without a number", "quantized", "meta", "nested"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_no_network_has_are_refused(tmp_path: Path, tensor: Callable[[], torch.Tensor], kind: str) -> None:
    torch.save(STATE | {"a": tensor()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w\.pth: a is .*{kind}; expected dense tensors of float64"):
        read_state(tmp_path / "w.pth")


def test_a_dict_that_contains_itself_is_refused(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    state["model"] = state
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds dict"):
        read_state(tmp_path / "w.pth")


def test_written_tensors_are_read_again_whatever_their_memory_format(tmp_path: Path) -> None:
    tensors = {
        "a": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "b": torch.rand(3, requires_grad=True),
    }
    with (tmp_path / "w.safetensors").open("wb") as file:
        weight_files.write_safetensors(tensors, file.write)
    read = weight_files.read_safetensors(tmp_path / "w.safetensors")
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert read["a"].is_contiguous()


def test_pieces_written_one_after_another_are_what_the_library_writes() -> None:
    torch.manual_seed(0)
    tensors = {
        "b.weight": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "a.bias": torch.nn.Parameter(torch.rand(3)),
        "norm.num_batches_tracked": torch.tensor(1 << 40),
        "mask": torch.tensor([True, False, True]),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "half": torch.rand(5).bfloat16(),
        "empty": torch.empty(0, 4),
        "gaps": torch.rand(6, 4)[::2],
    }
    pieces: list[bytes] = []
    weight_files.write_safetensors(tensors, lambda piece: pieces.append(bytes(piece)))
    assert len(pieces) == 1 + len(tensors)
    read = load(b"".join(pieces))
    assert read.keys() == tensors.keys()
    assert all(read[name].dtype == tensors[name].dtype for name in tensors)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    # Read in place, a tensor has to be aligned.
    assert (8 + int.from_bytes(pieces[0][:8], "little")) % 8 == 0
