"""Which files lie below a directory."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from pneumo.errors import UserError


def find(root: Path, exclude: Collection[Path] = ()) -> list[Path]:
    """List every regular file below ``root``, hidden ones too, sorted by relative POSIX path.

    Links to files count as files. Links to directories are followed, but no directory is entered twice, so loops
    end; a directory inside ``root`` is found under its own path and not under a link's. Sockets, FIFOs, devices
    and dangling links are not files.

    Args:
        root: A directory, or a single file, which is then the only one found.
        exclude: Files and directories to leave out, compared after resolving links.

    Raises:
        UserError: When a directory cannot be listed.
    """
    skip = {os.path.realpath(path) for path in exclude}
    if root.is_file():
        return [] if os.path.realpath(root) in skip else [root]
    return sorted(_walk(root, skip), key=lambda path: path.relative_to(root).as_posix())


def _walk(root: Path, skip: set[str]) -> Iterator[Path]:
    """Yield the files below ``root``; linked directories come after all real ones, so that those keep their paths."""
    entered = set(skip)
    directories, links = [root], list[Path]()
    while directories or links:
        directory = directories.pop() if directories else links.pop(0)
        real = os.path.realpath(directory)
        if real in entered:
            continue
        entered.add(real)
        for entry in _entries(directory):
            path = directory / entry.name
            if path.is_dir():
                (links if entry.is_symlink() else directories).append(path)
            elif path.is_file() and not (skip and os.path.realpath(path) in skip):
                yield path


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        # Going on without it would leave files out of every count.
        raise UserError(
            f"{directory}: {error.strerror}", "a directory whose entries can be listed", "check its permissions"
        ) from None
