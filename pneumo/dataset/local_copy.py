"""A copy of a dataset on a disk of this machine: made by one process at a time, and verified before it is used.

::

    CACHE/datasets/DIGEST/         a dataset, see pneumo.dataset.paths; DIGEST is of its dataset.json
    CACHE/datasets/DIGEST.lock     while a process copies

Each shard is compared with the table before it gets its name, and its index, written behind it, says that it is what
the table says. dataset.json comes last, as in any dataset. So a process that is killed costs the shards that it was
copying, and the next one goes on with the others. A complete copy is used without a lock, and without a look at where
it came from. What a cleaner of temporary files removed from it is copied again.

A shard that is damaged where it is copied from is kept without an index, so that those of its images that are not
damaged can be used; each start tries to get a better one.
"""

import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path

from pneumo.dataset import paths, shard_copies, verify
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.origin import Origin, OriginLostError
from pneumo.dataset.table import SampleTable
from pneumo.runtime import locks
from pneumo.runtime.console import format_size, log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.files import publish, remove_temporary_files

DIRECTORY = "datasets"
_NAME_LENGTH = 16
"""Hexadecimal digits of the digest in a copy's name; dataset.json is compared as a whole."""
_WORD_INTERVAL_S = 60.0
"""Seconds between two lines of a process that waits for another one's copy."""


@dataclass(frozen=True)
class CopyPlan:
    """What is left to copy."""

    shards: list[tuple[str, list[int]]]
    """Names of the tars, each with the rows of its samples."""
    size: int
    """Their bytes."""
    free: int
    """Bytes that are free where they go."""

    def describe(self) -> str:
        """Return the plan in a few words."""
        return f"{counted(len(self.shards), 'shard')}, {format_size(self.size)} of {format_size(self.free)} free"


class LocalCopy:
    """The copy of one dataset.

    Args:
        cache: The directory of the copies of all datasets.
        manifest: The content of the dataset's dataset.json.
    """

    def __init__(self, cache: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.path = cache / DIRECTORY / manifest.sha256[:_NAME_LENGTH]
        """The copy's directory: a dataset, once it is complete."""

    @property
    def is_complete(self) -> bool:
        """True when nothing is left to copy."""
        try:
            if Manifest.read(self.path) != self.manifest:
                return False
            table = SampleTable.read(self.path, manifest=self.manifest)
        except UserError:
            return False
        return not self._missing(table)

    def plan(self, table: SampleTable) -> CopyPlan:
        """Return what is left to copy."""
        shards = self._missing(table)
        size = sum(verify.shard_size(table, rows[-1]) for _, rows in shards)
        above = next(path for path in self.path.absolute().parents if path.exists())
        return CopyPlan(shards, size, shutil.disk_usage(above).free)

    def _missing(self, table: SampleTable) -> list[tuple[str, list[int]]]:
        """Return the shards without an index, which says that they were compared, and those of another size."""
        return [(name, rows) for name, rows in verify.shard_rows(table) if not self._has(table, name, rows[-1])]

    def _has(self, table: SampleTable, name: str, last: int) -> bool:
        tar = paths.shards(self.path) / name
        try:
            found = tar.lstat()
        except OSError:
            return False
        whole = stat.S_ISREG(found.st_mode) and found.st_size == verify.shard_size(table, last)
        return whole and tar.with_suffix(".idx").is_file()

    def check_space(self, plan: CopyPlan, origin: Origin) -> None:
        """Refuse to begin what the disk has no space for.

        Raises:
            UserError: With what is needed and what is free.
        """
        if plan.size > plan.free:
            raise UserError(
                f"{self.path}: {plan.describe()}",
                f"space for a copy of {origin.name}",
                f"{_describe_others(self.path) or 'delete files there'}; or give another --cache-dir, or leave it out",
            )

    def ensure(self, origin: Origin, tick: Callable[[str], object]) -> None:
        """Complete the copy, or wait until another process of this machine has.

        Args:
            origin: Where the dataset is.
            tick: Called with what is being done whenever there was progress, here or in the other process.

        Raises:
            UserError: When the dataset cannot be read, or its table is damaged; when the disk is too small, or the
                directory is another user's.
        """
        try:
            if self.is_complete:
                return
            lock = self.path.with_suffix(".lock")
            with locks.hold(lock, str(self.path), wait_s=inf, waiting=_Waiting(self.path, tick)):
                if not self.is_complete:
                    self._copy(origin, tick)
        except OriginLostError as error:
            raise UserError(
                str(error),
                "a dataset that can be read",
                "check the network, the mount and the permissions; the same command goes on with the copy",
            ) from error
        except FileNotFoundError as error:
            raise UserError(
                f"{self.path} was removed while the dataset was copied there",
                "a directory that one process of one machine writes to",
                "give each machine a --cache-dir on its own disk; the same command copies again",
            ) from error
        except PermissionError as error:
            raise UserError(
                f"{error.filename or self.path}: {error.strerror}",
                "a directory that this user can read and write",
                "give another --cache-dir, or share it: chmod g+ws DIR/datasets, and umask 002",
            ) from None

    def _copy(self, origin: Origin, tick: Callable[[str], object]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o770 if _is_shared(self.path.parent) else 0o700, exist_ok=True)
        paths.shards(self.path).mkdir(exist_ok=True)
        for directory in (self.path, paths.shards(self.path)):
            remove_temporary_files(directory)
        tick("copying the dataset's table")
        table = self._table(origin)
        plan = self.plan(table)
        self.check_space(plan, origin)
        log.info("copying %s to %s: %s", origin.name, self.path, plan.describe())
        if others := _describe_others(self.path):
            log.info("%s", others)
        issues = shard_copies.copy(origin, self.path, table, plan.shards, plan.size, tick)
        if issues:
            self._require_unchanged(origin)
        for name in paths.LISTS:
            with suppress(FileNotFoundError):
                _copy_file(origin, self.path, name)
        self.manifest.write(self.path)
        for issue in issues:
            log.warning("damaged in %s: %s", origin.name, verify.describe(issue, table))
        if issues:
            shards = counted(len({issue.file for issue in issues}), "damaged shard")
            log.warning(
                "%s is a copy of %s with %s, which each start tries to copy again", self.path, origin.name, shards
            )
        elif self.is_complete:
            log.info("%s is a complete copy of %s", self.path, origin.name)
        else:
            raise FileNotFoundError(self.path)

    def _table(self, origin: Origin) -> SampleTable:
        """Return the table, copied unless it is there."""
        try:
            return SampleTable.read(self.path, manifest=self.manifest)
        except UserError:
            try:
                _copy_file(origin, self.path, paths.SAMPLES)
            except FileNotFoundError:
                raise OriginLostError(f"{origin.name} has a {paths.MANIFEST} and no {paths.SAMPLES}") from None
        return SampleTable.read(self.path, manifest=self.manifest)

    def _require_unchanged(self, origin: Origin) -> None:
        """Tell shards that are damaged from a dataset that was unmounted, or built anew, while it was copied."""
        try:
            unchanged = origin.manifest() == self.manifest
        except (FileNotFoundError, UserError):
            unchanged = False
        if not unchanged:
            raise OriginLostError(f"{origin.name} was removed or replaced while it was copied")


def complete_copies(cache: Path) -> list[LocalCopy]:
    """Return the complete copies of all datasets."""
    found = []
    for path in _copies(cache / DIRECTORY):
        # Another user's cannot be read.
        with suppress(UserError, OSError):
            copy = LocalCopy(cache, Manifest.read(path))
            if copy.is_complete:
                found.append(copy)
    return found


class _Waiting:
    """Says now and then that this process waits for another one's copy."""

    def __init__(self, path: Path, tick: Callable[[str], object]) -> None:
        self._path, self._tick, self._last_word = path, tick, -inf

    def __call__(self, owner: str) -> None:
        # A process that hangs ends itself, and the system then releases its lock.
        self._tick("waiting for another process to copy the dataset")
        if time.monotonic() - self._last_word >= _WORD_INTERVAL_S:
            self._last_word = time.monotonic()
            log.info("waiting for %s to be copied by another process (%s)", self._path, owner)


def _copies(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []


def _is_shared(directory: Path) -> bool:
    """Return whether what is made in a directory is for its group; who may read the dataset itself is not known."""
    mode = directory.stat().st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def _describe_others(path: Path) -> str:
    """Return what to do about the copies of other datasets, "" without any: which of them runs use is not known."""
    others = [other for other in _copies(path.parent) if other != path]
    if not others:
        return ""
    size = 0
    for other in others:
        with suppress(OSError):
            size += sum(file.stat().st_size for file in paths.shards(other).iterdir())
    copies = counted(len(others), "copy of another dataset", "copies of other datasets")
    return f"{path.parent} has {copies}, {format_size(size)}: remove what no run uses with rm -r {others[0]}"


def _copy_file(origin: Origin, dataset: Path, name: str) -> None:
    with origin.open(name) as source, publish(dataset / name) as target:
        while piece := source.read():
            target.write(piece)
