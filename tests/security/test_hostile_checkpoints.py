"""Checkpoints that were changed on purpose: manifests, states and optimizer files."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import PICKLES, refused, sign_checkpoint

from pneumo.training import checkpoint
from pneumo.training.checkpoint import Snapshot
from pneumo.training.loop_state import LoopState


@pytest.fixture
def saved_checkpoint(tmp_path: Path) -> Path:
    snapshot = Snapshot(LoopState(step=3), weights={"model": {"w": torch.zeros(2)}}, optimizer={})
    return checkpoint.save(tmp_path / "checkpoints", snapshot)


def rewrite_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    changed = change(manifest)
    file.write_text(json.dumps(manifest if changed is None else changed))


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


def test_a_manifest_names_no_file_outside_its_checkpoint(saved_checkpoint: Path) -> None:
    """A named pipe outside would be waited for if it were opened."""
    os.mkfifo(saved_checkpoint.parent / "outside")
    rewrite_manifest(saved_checkpoint, lambda m: m.update({"../outside": [0, "a"]}))
    assert "names '../outside'" in checkpoint.verify(saved_checkpoint)


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, '{"a":' * 100_000, "1" * 10_000, "\xff", ""])
def test_deep_and_damaged_json_is_a_damaged_checkpoint(saved_checkpoint: Path, text: str) -> None:
    (saved_checkpoint / "manifest.json").write_text(text, encoding="latin-1")
    assert "manifest.json" in checkpoint.verify(saved_checkpoint)


def refused_with_a_manifest_that_fits(path: Path, state: str) -> str:
    (path / "state.json").write_text(state)
    sign_checkpoint(path)
    assert checkpoint.verify(path) == ""
    return refused(lambda: checkpoint.load(path))


@pytest.mark.parametrize("text", ["[]", "{}", "[" * 100_000, "x", '{"format_version": 99}'])
def test_a_state_that_is_none_is_refused(saved_checkpoint: Path, text: str) -> None:
    assert str(saved_checkpoint / "state.json") in refused_with_a_manifest_that_fits(saved_checkpoint, text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", "3"),
        ("step", -1),
        ("step", 10**400),
        ("cursor", None),
        ("cursor", {"stage": 0}),
        ("history", [{"epoch": "1"}]),
        ("step_sums", [1.0]),
        ("more", 1),
    ],
)
def test_a_state_with_a_hostile_field_is_refused(saved_checkpoint: Path, field: str, value: object) -> None:
    state = json.loads((saved_checkpoint / "state.json").read_text())
    text = refused_with_a_manifest_that_fits(saved_checkpoint, json.dumps(state | {field: value}))
    assert f"cannot resume from {saved_checkpoint}: state.json.{field}" in text


@pytest.mark.parametrize("field", [entry.name for entry in dataclasses.fields(LoopState)])
def test_a_state_without_a_field_is_refused(saved_checkpoint: Path, field: str) -> None:
    state = json.loads((saved_checkpoint / "state.json").read_text())
    del state[field]
    text = refused_with_a_manifest_that_fits(saved_checkpoint, json.dumps(state))
    assert f"cannot resume from {saved_checkpoint}: state.json.{field} is missing" in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", PICKLES)
def test_a_hostile_optimizer_runs_no_code(saved_checkpoint: Path, tmp_path: Path, make: Callable[..., bytes]) -> None:
    mark = tmp_path / "mark"
    (saved_checkpoint / "optimizer.pt").write_bytes(make(mark))
    sign_checkpoint(saved_checkpoint)
    refused(lambda: checkpoint.load(saved_checkpoint))
    assert not mark.exists()
