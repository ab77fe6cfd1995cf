"""Checkpoints: published by rename, verified before they are loaded, loaded without executing code.

    FOLD/checkpoints/step-00001200-epoch-0003/    steps and whole epochs (with their validation) done
        model.safetensors      the network's weights and running statistics
        ema.safetensors        their moving average
        swa.safetensors        the mean of the weights at the ends of a stage's last epochs (when the recipe has one)
        best.safetensors       the best average so far (when the recipe keeps the best)
        optimizer.pt           moments of the optimizer and the gradient scaler's state (tensors and numbers only)
        state.json             the state of the loop: cursor, history, early stopping
        manifest.json          size and SHA-256 of each file above

A directory gets its final name only when all of its files are on disk. One that is damaged later does not match its
manifest, and training resumes from the one before it. Older checkpoints are removed once a new one is complete. Values
that are not finite are never saved, and a checkpoint that has some is damaged.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Any

import torch

from pneumo.modeling import weight_files
from pneumo.modeling.finite import find_nonfinite
from pneumo.runtime import config, documents
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, first_line
from pneumo.runtime.files import publish_directory, sha256
from pneumo.training import checkpoint_directory
from pneumo.training.loop_state import LoopState

FORMAT_VERSION = 3

_FILE = re.compile(r"[a-z]+\.(?:safetensors|pt|json)")
"""Names of a checkpoint's files, without a slash: nothing outside its directory is read."""

_ACTION = "remove it, and the same command resumes from the one before; or give another --run"

Tensors = dict[str, torch.Tensor]


@dataclass
class Snapshot:
    """All that a fold needs to resume exactly where it was saved."""

    state: LoopState
    weights: dict[str, Tensors]
    """Named sets of weights: ``model`` and ``ema``, and ``swa`` and ``best`` when the recipe has them."""
    optimizer: dict[str, Any]
    """State of the optimizer and of the scaler: nested containers of tensors, numbers and strings."""


def save(directory: Path, snapshot: Snapshot) -> Path:
    """Publish a checkpoint under ``directory`` and remove the older ones; return its directory.

    Raises:
        UserError: When a value is not finite; nothing is written then.
    """
    broken = find_nonfinite({**snapshot.weights, "optimizer": snapshot.optimizer})
    if broken:
        raise UserError(
            f"{broken} is not finite at step {snapshot.state.step}",
            "finite weights",
            "lower --learning-rate or set --precision fp32, in a new --run; no checkpoint has these weights",
        )
    target = directory / f"step-{snapshot.state.step:08d}-epoch-{snapshot.state.epochs_done:04d}"
    if target.exists():
        if not verify(target):
            return target
        # Only a damaged one is replaced: the fold resumed from the one before it and has reached this step again.
        shutil.rmtree(target)
    with publish_directory(target) as temporary:
        manifest: dict[str, tuple[int, str]] = {}
        for name, write in _writers(snapshot):
            manifest[name] = _write_hashed(temporary / name, write)
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
    checkpoint_directory.prune(directory)
    return target


def _writers(snapshot: Snapshot) -> Iterator[tuple[str, Callable[["_HashedFile"], object]]]:
    """Yield the name of each file but the manifest, and what writes its content."""
    for name, tensors in snapshot.weights.items():
        yield f"{name}.safetensors", partial(_write_weights, tensors)
    yield "optimizer.pt", partial(torch.save, snapshot.optimizer)
    state = {"format_version": FORMAT_VERSION, **asdict(snapshot.state)}
    yield "state.json", lambda file: file.write(json.dumps(state, indent=1).encode())


def _write_weights(tensors: Tensors, file: "_HashedFile") -> None:
    weight_files.write_safetensors(tensors, file.write)


def _write_hashed(path: Path, write: Callable[["_HashedFile"], object]) -> tuple[int, str]:
    """Write a file; return its size in bytes and its SHA-256."""
    with path.open("wb") as file:
        hashed = _HashedFile(file)
        try:
            write(hashed)
        except RuntimeError:
            # torch.save hides an error of its file behind one of its own.
            if hashed.error is not None:
                raise hashed.error from None
            raise
    return hashed.size, hashed.digest.hexdigest()


class _HashedFile:
    """Hashes what is written to a file: nothing is kept in memory or read again.

    For large pieces neither writing nor hashing holds the interpreter's lock, so that training goes on meanwhile.
    """

    def __init__(self, file: BufferedWriter) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Write and hash bytes."""
        try:
            size = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        self.size += size
        return size

    def flush(self) -> None:
        """Leave that to the end; torch.save asks for it."""


def latest(directory: Path) -> Path | None:
    """Return the newest checkpoint that matches its manifest and is finite, or None; log the damaged ones."""
    for path in reversed(checkpoint_directory.published(directory)):
        damage = verify(path) or _find_nonfinite(path)
        if not damage:
            return path
        log.warning("checkpoint %s is damaged (%s); trying the one before", path, damage)
    return None


def load(path: Path) -> Snapshot:
    """Read a checkpoint that matches its manifest onto the CPU. No code in the files is executed.

    Raises:
        UserError: When it is of another format version, or a file is not what ``save`` writes although it matches the
            manifest.
    """
    content = documents.read_versioned(
        path / "state.json",
        FORMAT_VERSION,
        expected="a checkpoint of this run",
        repair=_ACTION,
        other_version="resume with the version of pneumo that wrote it, or give another --run",
    )
    try:
        optimizer = weight_files.read_pickled(path / "optimizer.pt")
        if not isinstance(optimizer, dict):
            raise ValueError("optimizer.pt has no dict")
        return Snapshot(
            state=config.from_json(LoopState, content, "state.json"),
            weights={p.stem: weight_files.read_safetensors(p) for p in sorted(path.glob("*.safetensors"))},
            optimizer=optimizer,
        )
    except (OSError, ValueError, UserError) as error:
        raise incompatible(path, error) from error


def read_state(path: Path) -> LoopState:
    """Read the state of the loop alone, without comparing the checkpoint with its manifest: to look at its history.

    Raises:
        UserError: When it is of another format version, damaged, or was removed meanwhile by the process that trains.
    """
    content = documents.read_versioned(
        path / "state.json",
        FORMAT_VERSION,
        expected="a checkpoint of this run",
        repair=_ACTION,
        other_version="use the version of pneumo that wrote it",
    )
    return config.from_json(LoopState, content, str(path / "state.json"))


def incompatible(path: Path, error: Exception) -> UserError:
    """Return the error of an undamaged checkpoint that this run cannot have written."""
    return UserError(
        f"cannot resume from {path}: {error.found if isinstance(error, UserError) else first_line(error)}",
        "a checkpoint of this run",
        _ACTION,
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
                return f"manifest.json has no size and SHA-256 of {name}"
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


def _find_nonfinite(path: Path) -> str:
    """Return which value of a checkpoint is not finite, an empty string when all are or ``load`` will refuse it."""
    try:
        values = {p.stem: weight_files.read_safetensors(p) for p in sorted(path.glob("*.safetensors"))}
        broken = find_nonfinite({**values, "optimizer": weight_files.read_pickled(path / "optimizer.pt")})
    except (OSError, ValueError):
        return ""
    return f"{broken} is not finite" if broken else ""
