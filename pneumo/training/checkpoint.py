"""Checkpoints: published by rename, verified before they are believed, loaded without executing code.

    FOLD/checkpoints/step-00001200-epoch-0003/    steps and whole epochs (with their validation) done
        model.safetensors      the network's weights and running statistics
        ema.safetensors        their moving average (when the recipe has one)
        best.safetensors       the best average so far (when the recipe keeps the best)
        optimizer.pt           moments of the optimiser and the gradient scaler's state (tensors and numbers only)
        state.json             position, history, early stopping
        manifest.json          size and SHA-256 of each file above

A directory appears under its final name only when all of it is on disk; one that was damaged later fails its manifest
and the one before it is taken. Older ones are pruned after the next is in place.
"""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from pneumo.modeling import weights
from pneumo.runtime import documents
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, first_line
from pneumo.runtime.files import publish_directory, remove_temporary_files, sha256

FORMAT_VERSION = 1
KEEP = 2
"""Checkpoints kept: the newest, and one more for the day the newest turns out damaged."""

_FILE = re.compile(r"[a-z]+\.(?:safetensors|pt|json)")
"""The files of a checkpoint; a name with a slash in it would lead out."""

Tensors = dict[str, torch.Tensor]


@dataclass
class Snapshot:
    """All that a fold needs to go on exactly where it was."""

    step: int
    """Optimiser steps done, over all stages."""
    epoch: int
    """Epochs done with their validation, over all stages; an epoch's last step alone does not end it."""
    weights: dict[str, Tensors]
    """Named sets of weights: ``model``, and ``ema`` and ``best`` where there are any."""
    optimizer: dict[str, Any]
    """State of the optimiser and of the scaler: nested containers of tensors, numbers and strings."""
    state: dict[str, Any] = field(default_factory=dict)
    """Position, history and early stopping, as JSON values."""


def save(folder: Path, snapshot: Snapshot) -> Path:
    """Publish a checkpoint under ``folder`` and prune the older ones; return its directory."""
    target = folder / f"step-{snapshot.step:08d}-epoch-{snapshot.epoch:04d}"
    if target.exists():
        if not verify(target):
            return target
        # Only a damaged checkpoint makes room: the fold went back to the one before it and came here again.
        shutil.rmtree(target)
    with publish_directory(target) as temporary:
        manifest: dict[str, tuple[int, str]] = {}
        # Written by Python's own files: the libraries' writers turn a full disk into errors that do not say so.
        for name, content in _files(snapshot):
            with (temporary / name).open("wb") as file:
                file.write(content)
            manifest[name] = (len(content), hashlib.sha256(content).hexdigest())
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
    prune(folder)
    return target


def _files(snapshot: Snapshot) -> Iterator[tuple[str, bytes | memoryview]]:
    """Yield the name and the content of each file but the manifest."""
    for name, tensors in snapshot.weights.items():
        contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        yield f"{name}.safetensors", safetensors.torch.save(contiguous)
    optimizer = io.BytesIO()
    torch.save(snapshot.optimizer, optimizer)
    yield "optimizer.pt", optimizer.getbuffer()
    state = {"format_version": FORMAT_VERSION, "step": snapshot.step, "epoch": snapshot.epoch, **snapshot.state}
    yield "state.json", json.dumps(state, indent=1).encode()


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint that agrees with its manifest, or None; damaged ones are named in the log."""
    for path in reversed(_all(folder)):
        fault = verify(path)
        if not fault:
            return path
        log.warning("checkpoint %s is damaged (%s); going back to the one before", path, fault)
    return None


def load(path: Path) -> Snapshot:
    """Read a checkpoint that agrees with its manifest onto the CPU. No code in the files is executed.

    Raises:
        UserError: When a file is not what ``save`` wrote although the manifest fits it.
    """
    try:
        state = documents.read(path / "state.json")
        optimizer = weights.read_pickled(path / "optimizer.pt")
        if not isinstance(optimizer, dict) or not {type(state.get(name)) for name in ("step", "epoch")} == {int}:
            raise ValueError("optimizer.pt or state.json without its fields")
        return Snapshot(
            step=state["step"],
            epoch=state["epoch"],
            weights={p.stem: weights.read_safetensors(p) for p in sorted(path.glob("*.safetensors"))},
            optimizer=optimizer,
            state=state,
        )
    except (OSError, ValueError) as error:
        raise incompatible(path, error) from error


def incompatible(path: Path, error: Exception) -> UserError:
    """Return the error of a whole checkpoint that this run cannot have written."""
    return UserError(
        f"{path} cannot be taken up: {first_line(error)}",
        "a checkpoint of this run",
        "remove it, and the same command goes on from the one before; or give another --run",
    )


def verify(path: Path) -> str:
    """Compare a checkpoint with its manifest; return what is wrong, or an empty string."""
    try:
        manifest = documents.read(path / "manifest.json")
        unlisted = {p.name for p in path.glob("*.safetensors")} - set(manifest)
        if unlisted:
            return f"{min(unlisted)} is not in its manifest"
        for name, entry in manifest.items():
            if not _FILE.fullmatch(name):
                return f"manifest.json names {name[:80]!r}"
            if not (isinstance(entry, list) and list(map(type, entry)) == [int, str]):
                return f"manifest.json says no size and SHA-256 of {name}"
            size, digest = entry
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes, expected {size}"
            if sha256(file) != digest:
                return f"{name} does not have the expected SHA-256"
    except (OSError, ValueError) as error:
        return f"manifest.json: {error}"
    return ""


def _all(folder: Path) -> list[Path]:
    """List the published checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if re.fullmatch(r"step-\d{8}-epoch-\d{4}", p.name) and p.is_dir())


def prune(folder: Path) -> None:
    """Remove all but the newest checkpoints, and what an interrupted save left; the fold's one writer calls this."""
    for path in _all(folder)[:-KEEP]:
        # A failed deletion wastes disk; it must not end a training run.
        shutil.rmtree(path, ignore_errors=True)
    remove_temporary_files(folder)
