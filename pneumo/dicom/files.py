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
    check(root)
    skip = {os.path.realpath(path) for path in exclude}
    if root.is_file():
        return [] if os.path.realpath(root) in skip else [root]
    # All begin with the root, so that their order is that of what follows it.
    return [Path(path) for path in sorted(_walk(os.fspath(root), skip))]


def check(root: Path) -> None:
    """Refuse what is no file, and no directory that can be listed.

    Raises:
        UserError: When ``root`` cannot be listed.
    """
    try:
        if not root.is_file():
            os.scandir(root).close()
    except PermissionError as error:
        raise UserError(
            f"{root}: {error.strerror}", "a file, or a directory whose entries can be listed", "check its permissions"
        ) from None
    except OSError as error:
        found = "neither a file nor a directory" if isinstance(error, NotADirectoryError) else error.strerror
        raise UserError(
            f"{root}: {found}", "a DICOM, PNG or JPEG file, a zip archive or a directory", "check the path"
        ) from None


def _walk(root: str, skip: set[str]) -> Iterator[str]:
    """Yield the files below ``root``; linked directories come last, so that the real ones keep their own paths.

    A directory's real path is known from the one that it was found in, unless it is a link: asking the system for that
    of every entry took most of the time.
    """
    entered = set(skip)
    directories, links = [(root, os.path.realpath(root))], list[str]()
    while directories or links:
        directory, real = directories.pop() if directories else (links[0], os.path.realpath(links.pop(0)))
        if real in entered:
            continue
        entered.add(real)
        try:
            entries = _entries(directory)
        except OSError:
            yield directory
            continue
        for entry in entries:
            # Joining strings: a Path of every entry, before they are sorted, would take as long as the rest.
            is_link, inside = entry.is_symlink(), f"{real.rstrip(os.sep)}{os.sep}{entry.name}"
            if not _is_directory(entry):
                if not (skip and (os.path.realpath(entry.path) if is_link else inside) in skip):
                    yield entry.path
            elif is_link:
                links.append(entry.path)
            else:
                directories.append((entry.path, inside))


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link in a loop, or into a directory without permission.
        return False
