"""What a command leaves on disk: its temporary files, and the comparison with an uninterrupted run."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pneumo.training import checkpoint
from pneumo.training.loop_state import MEASURED

TEMPORARY = re.compile(r"\..+\.pneumo-tmp-[a-z0-9_]{8}")
"""Names that pneumo.runtime.files gives to what it writes before the rename."""


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    """Return modification time and size of each file and directory; files may appear and vanish meanwhile."""
    found: dict[str, tuple[int, int]] = {}
    waiting = [str(directory)]
    while waiting:
        try:
            for entry in os.scandir(waiting.pop()):
                status = entry.stat(follow_symlinks=False)
                found[entry.path] = (status.st_mtime_ns, status.st_size)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


def temporaries(directory: Path) -> set[str]:
    """Return the files and directories that are being written."""
    return {path for path in tree(directory) if TEMPORARY.fullmatch(os.path.basename(path))}  # noqa: PTH119


def differences(found: Path, reference: Path, *, finished: bool) -> list[str]:
    """Return the differences between an interrupted and an uninterrupted run of a command, byte for byte.

    Args:
        found: Directory of the interrupted run.
        reference: Directory of the uninterrupted one.
        finished: Whether the command is done; else only published files are compared, since these are published
            whole or not at all.
    """
    here, there = (dict(_files(directory)) for directory in (found, reference))
    if finished:
        faults = [f"{name} is left behind" for name in sorted(here.keys() - there.keys())]
        faults += [f"{name} is missing" for name in sorted(there.keys() - here.keys())]
    else:
        faults = []
        here = {name: path for name, path in here.items() if not any(part.startswith(".") for part in path.parts)}
    faults += [f"{name} differs" for name in sorted(here.keys() & there.keys()) if not _same(here[name], there[name])]
    for directory in sorted(found.glob("run/fold-*/checkpoints")):
        faults += _checkpoints(directory)
    return faults


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield all files but TensorBoard's and the logs, which are named by time and process, and those of checkpoints."""
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if not {"checkpoints", "logs"} & set(name.parts[:-1]) and not path.name.startswith("events.out."):
            yield str(name), path


def _same(path: Path, other: Path) -> bool:
    if path.is_dir() or other.is_dir():
        return path.is_dir() == other.is_dir()
    if path.name == "report.html":
        # It has the date, and what was measured.
        return True
    if path.name == "fold.json":
        return _without_measured(path) == _without_measured(other)
    return path.read_bytes() == other.read_bytes()


def _without_measured(path: Path) -> object:
    content = json.loads(path.read_text())
    return {**content, "history": [{k: v for k, v in e.items() if k not in MEASURED} for e in content["history"]]}


def _checkpoints(directory: Path) -> Iterator[str]:
    """Yield what is wrong with those of an unfinished fold: the newest must be whole at any time."""
    published = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    if published and (fault := checkpoint.verify(published[-1])):
        yield f"{published[-1]}: {fault}"
