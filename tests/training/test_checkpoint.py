"""Checkpoints: complete or absent, damage detected, the previous one used instead, no code executed."""

import json
from pathlib import Path

import pytest
import torch

from pneumo.runtime.errors import UserError
from pneumo.training import checkpoint
from pneumo.training.checkpoint import Snapshot
from pneumo.training.loop_state import LoopState


def snapshot(step: int, epoch: int = 0) -> Snapshot:
    weights = {"conv.weight": torch.full((2, 3), float(step)), "norm.num_batches_tracked": torch.tensor(step)}
    return Snapshot(
        state=LoopState(step=step, history=[{"epoch": n} for n in range(epoch)]),
        weights={"model": weights, "ema": {name: tensor.clone() for name, tensor in weights.items()}},
        optimizer={"optimizer": {"state": {0: {"exp_avg": torch.ones(2) * step}}, "param_groups": [{"lr": 0.1}]}},
    )


def test_a_saved_checkpoint_loads_unchanged(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, snapshot(7, epoch=2))
    path = checkpoint.latest(tmp_path)
    assert path is not None
    loaded = checkpoint.load(path)
    assert loaded.state == snapshot(7, epoch=2).state
    assert torch.equal(loaded.weights["model"]["conv.weight"], torch.full((2, 3), 7.0))
    assert loaded.weights.keys() == {"model", "ema"}
    assert torch.equal(loaded.optimizer["optimizer"]["state"][0]["exp_avg"], torch.tensor([7.0, 7.0]))


def test_the_newest_is_used_and_older_ones_are_removed(tmp_path: Path) -> None:
    for step, epoch in [(9, 0), (10, 0), (100, 0), (100, 1)]:
        checkpoint.save(tmp_path, snapshot(step, epoch))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000100-epoch-0000", "step-00000100-epoch-0001"]
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    assert latest.name == "step-00000100-epoch-0001"


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "nothing") is None


def flip_a_bit(directory: Path) -> None:
    file = directory / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def cut_short(directory: Path) -> None:
    file = directory / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:-10])


def lose_a_file(directory: Path) -> None:
    (directory / "ema.safetensors").unlink()


def lose_the_manifest(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def tear_the_manifest(directory: Path) -> None:
    file = directory / "manifest.json"
    file.write_text(file.read_text()[:20])


@pytest.mark.parametrize("harm", [flip_a_bit, cut_short, lose_a_file, lose_the_manifest, tear_the_manifest])
def test_the_one_before_a_damaged_checkpoint_is_used(tmp_path: Path, harm) -> None:
    checkpoint.save(tmp_path, snapshot(1))
    newest = checkpoint.save(tmp_path, snapshot(2))
    harm(newest)
    assert checkpoint.verify(newest)
    path = checkpoint.latest(tmp_path)
    assert path is not None
    assert checkpoint.load(path).state.step == 1


def test_saving_a_damaged_step_again_replaces_it(tmp_path: Path) -> None:
    flip_a_bit(checkpoint.save(tmp_path, snapshot(2)))
    again = checkpoint.save(tmp_path, snapshot(2))
    assert checkpoint.verify(again) == ""


def test_temporary_files_of_an_interrupted_save_are_not_used_and_are_removed(tmp_path: Path) -> None:
    half = tmp_path / ".step-00000005-epoch-0000.pneumo-tmp-abc_12xy"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert checkpoint.latest(tmp_path) is None
    checkpoint.save(tmp_path, snapshot(6))
    assert not half.exists()


def test_a_failed_save_leaves_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, snapshot(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, snapshot(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001-epoch-0000"]


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_loading_executes_no_code(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "checkpoints", snapshot(1))
    mark = tmp_path / "executed"
    torch.save({"optimizer": Bomb(mark)}, path / "optimizer.pt")
    with pytest.raises(UserError, match=r"no file of torch\.save, or with more in it than"):
        checkpoint.load(path)
    assert not mark.exists()


VERSION_1 = """{
 "format_version": 1,
 "step": 7,
 "epoch": 0,
 "position": {
  "stage": 0,
  "epoch": 0,
  "step": 7
 },
 "standing": {
  "history": [],
  "best_score": -1.0,
  "without_better": 0,
  "loss_sums": [
   128.5,
   31.5,
   24.0,
   0.0,
   48.0
  ]
 }
}"""
"""A state.json as pneumo 0.1.0 wrote it."""


def test_a_checkpoint_of_another_format_version_is_refused_in_one_line(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, snapshot(7))
    (path / "state.json").write_text(VERSION_1)
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    assert str(caught.value) == (
        f"{path}/state.json has format version 1; expected format version 3; resume with the version of pneumo that "
        "wrote it, or give another --run"
    )


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, snapshot(1))
    listed = set(json.loads((path / "manifest.json").read_text()))
    assert listed | {"manifest.json"} == {p.name for p in path.iterdir()}


@pytest.mark.parametrize(("part", "name"), [("model", "conv.weight"), ("ema", "conv.weight"), ("optimizer", "exp_avg")])
def test_a_value_that_is_not_finite_is_never_saved(tmp_path: Path, part: str, name: str) -> None:
    good = checkpoint.save(tmp_path, snapshot(1))
    broken = snapshot(2)
    tensors = {**broken.weights, "optimizer": broken.optimizer["optimizer"]["state"][0]}[part]
    tensors[name][0] = float("inf")
    with pytest.raises(
        UserError, match=rf"^{part}\..*{name} is not finite at step 2; .*no checkpoint has these weights$"
    ):
        checkpoint.save(tmp_path, broken)
    assert list(tmp_path.iterdir()) == [good]


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_a_checkpoint_that_is_not_finite_is_not_resumed_from(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, snapshot(1))
    broken = snapshot(2)
    tensors = {**broken.weights, "optimizer": broken.optimizer["optimizer"]["state"][0]}[part]
    next(iter(tensors.values()))[0] = float("nan")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "find_nonfinite", lambda values: "")
        newest = checkpoint.save(tmp_path, broken)
    assert checkpoint.verify(newest) == ""
    path = checkpoint.latest(tmp_path)
    assert path is not None
    assert checkpoint.load(path).state.step == 1
    assert f"checkpoint {newest} is damaged ({part}." in caplog.text
    assert "is not finite); trying the one before" in caplog.text
