"""A directory of results that the next ones of the same command replace: all of them, and nothing of another origin.

The SHA-256 of each file that the command wrote is in a hidden file, as sha256sum writes it::

    DIR/.pneumo-sha256        DIGEST  overlays/a.png

So what a person has corrected, such as masks in predictions.csv, is known, and is neither replaced nor removed.
"""

import signal
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted, list_some
from pneumo.runtime.files import publish_text, sha256, sync_directory

RECORD = ".pneumo-sha256"

_WAITING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that wait until results are whole."""


def check(directory: Path, written: Collection[str]) -> None:
    """Refuse a directory in which the command would replace what it has not written, or what was changed since.

    Args:
        directory: Where the results go; it may be missing.
        written: Names of all files and directories that the command may write there.

    Raises:
        UserError: Naming what is there.
    """
    if not directory.is_dir():
        return
    digests = _read(directory)
    if changed := [name for name in digests if _is_changed(directory / name, digests[name])]:
        raise UserError(
            f"changed since a prediction wrote it into {directory}: {list_some(changed)}",
            "the results of an earlier prediction as they were written, which are replaced",
            "move what was changed to another directory, or give another --out",
        )
    known = {name.partition("/")[0] for name in digests}
    found = {entry.name for entry in directory.iterdir()} & set(written) - known
    if found:
        raise UserError(
            f"{directory} has {', '.join(sorted(found))} of another origin, which would be replaced or deleted",
            "an output that is new or empty, or an earlier prediction",
            "give another --out, or move these away",
        )
    for name in written:
        if (directory / name).is_symlink():
            raise UserError(f"{directory / name} is a link", "a file or directory of its own", "remove it")


def publish(staged: Path, directory: Path) -> None:
    """Move the files below a directory to another, and remove those of an earlier call that are not among them.

    Signals wait until all is moved. A process that is killed meanwhile leaves some results of each call, which the
    next call knows as its own.

    Args:
        staged: The new results, on the same file system.
        directory: Where they go.

    Raises:
        UserError: When a file of another origin has the name of a new one; the others are moved.
    """
    new = {path.relative_to(staged).as_posix(): sha256(path) for path in sorted(_files(staged))}
    old = _read(directory)
    foreign = [name for name in new if name not in old and (directory / name).exists()]
    moved = {name: digest for name, digest in new.items() if name not in foreign}
    with _signals_waiting():
        _write(directory, [(digest, name) for name, digests in old.items() for digest in digests]
                           + [(digest, name) for name, digest in moved.items()])  # fmt: skip
        for name in moved:
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (staged / name).replace(target)
        removed = [name for name in old if name not in moved and _remove(directory / name, old[name])]
        _write(directory, [(digest, name) for name, digest in moved.items()])
        for parent in {(directory / name).parent for name in moved} | {directory}:
            sync_directory(parent)
    if removed:
        log.info("%s: removed %s of an earlier prediction", directory, counted(len(removed), "file"))
    if foreign:
        raise UserError(
            f"{directory} has {list_some(foreign)} of another origin",
            "no files of the names of new results",
            "move them away, and start the same command again",
        )


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def _read(directory: Path) -> dict[str, set[str]]:
    """Return the digests that a file of each name may have; only names within the directory."""
    digests: dict[str, set[str]] = defaultdict(set)
    record = directory / RECORD
    if record.is_file() and not record.is_symlink():
        for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition("  ")
            if name and not name.startswith("/") and ".." not in name.split("/"):
                digests[name].add(digest)
    return digests


def _write(directory: Path, lines: Collection[tuple[str, str]]) -> None:
    publish_text(directory / RECORD, "".join(f"{digest}  {name}\n" for digest, name in lines))


def _is_changed(path: Path, digests: Collection[str]) -> bool:
    """Return whether there is something else than what the command wrote; no if it was removed."""
    if not path.exists() and not path.is_symlink():
        return False
    return path.is_symlink() or not path.is_file() or sha256(path) not in digests


def _remove(path: Path, digests: Collection[str]) -> bool:
    """Remove a file unless somebody has changed it meanwhile; return whether it was there."""
    if not path.exists() or _is_changed(path, digests):
        return False
    path.unlink()
    return True


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Let signals that would end the process do so behind the block.

    A mask is not enough: any other thread, such as one of a library, would take the signal, and Python would run its
    handler in the main thread, within the block.
    """
    # Only the main thread may install handlers, and they interrupt no other one.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {one: signal.signal(one, lambda number, _: arrived.append(number)) for one in _WAITING}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in arrived:
            signal.raise_signal(number)
