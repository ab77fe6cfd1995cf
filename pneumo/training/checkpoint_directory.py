"""Which checkpoints a fold has on disk: their directories, without what is in them."""

import re
import shutil
from pathlib import Path

from pneumo.runtime.files import remove_temporary_files

KEEP = 2
"""Checkpoints kept: the newest, and one more in case the newest is damaged."""


def published(directory: Path) -> list[Path]:
    """Return the directories of the published checkpoints, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(p for p in directory.iterdir() if re.fullmatch(r"step-\d{8}-epoch-\d{4}", p.name) and p.is_dir())


def prune(directory: Path) -> None:
    """Remove all but the newest checkpoints, and the temporary files of an interrupted save."""
    for path in published(directory)[:-KEEP]:
        # A failed deletion wastes disk space, but must not end training.
        shutil.rmtree(path, ignore_errors=True)
    remove_temporary_files(directory)
