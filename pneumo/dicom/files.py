"""List the files below a directory."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from pneumo.runtime.errors import UserError


def find(root: Path, exclude: Collection[Path] = ()) -> list[Path]:
    """List everything below ``root`` that is not a directory, hidden names included, sorted by relative POSIX path.

    Besides files and links to files it lists sockets, FIFOs, devices, dangling links and directories that cannot be
    listed. The reader rejects these, so that each has its row in the quarantine. Links to directories are followed,
    but no directory is entered twice, so that loops end; a directory inside ``root`` is listed under its own path and
    not under that of a link.

    Args:
        root: A directory, or a single file, which is then the only one listed.
        exclude: Files and directories to leave out, compared after resolving links.

    Raises:
        UserError: When ``root`` cannot be listed.
    """
    skip = {os.path.realpath(path) for path in exclude}
    if root.is_file():
        return [] if os.path.realpath(root) in skip else [root]
    try:
        os.scandir(root).close()
    except OSError as error:
        raise UserError(
            f"{root}: {error.strerror}", "a directory whose entries can be listed", "check its permissions"
        ) from None
    return sorted(_walk(root, skip), key=lambda path: path.relative_to(root).as_posix())


def _walk(root: Path, skip: set[str]) -> Iterator[Path]:
    """Yield the files below ``root``; linked directories come last, so that the real ones keep their own paths."""
    entered = set(skip)
    directories, links = [root], list[Path]()
    while directories or links:
        directory = directories.pop() if directories else links.pop(0)
        real = os.path.realpath(directory)
        if real in entered:
            continue
        entered.add(real)
        try:
            entries = _entries(directory)
        except OSError:
            yield directory
            continue
        for entry in entries:
            path = directory / entry.name
            if _is_directory(entry):
                (links if entry.is_symlink() else directories).append(path)
            elif not (skip and os.path.realpath(path) in skip):
                yield path


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link in a loop, or into a directory without permission.
        return False
