"""Whether decoded images are kept for the next epoch, where, and how many: planned before the first is read.

Without ``--cache-dir`` each rank keeps them in its own memory; with it, the ranks of a fold group that share a machine
keep them once, in a file of that directory which has no name: it disappears with them, however they end.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumo.dataset.table import SampleTable
from pneumo.distributed.collectives import Group
from pneumo.distributed.world import World
from pneumo.loading.cache_layout import CacheLayout
from pneumo.loading.decoded_cache import DecodedCache, FileStorage, MemoryStorage, storage_bytes
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.files import temporary_prefix
from pneumo.runtime.machine import available_memory

GIB = 2**30
SHARE = 0.5
"""Of the memory that is free, or of the free space of the directory's disk."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Where decoded images may be kept, and how much they may take."""

    directory: Path | None = None
    """A directory on a disk of each machine, where the dataset is copied to first; None keeps them in memory."""
    share: float = SHARE
    """Largest share of the free memory or disk that the ranks of a machine may take together; 0 keeps nothing."""

    def check(self) -> None:
        """Make the directory, if there is to be one.

        Raises:
            UserError: When it cannot be written to.
        """
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory):
                pass
        except OSError as error:
            raise UserError(
                f"--cache-dir {self.directory}: {error.strerror or error}",
                "a directory on a disk of this machine that can be written to",
                "correct --cache-dir, or leave it out to keep decoded images in memory",
            ) from None


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """Which images of a stage are kept, and of how much free space that was decided."""

    layout: CacheLayout
    size: int
    """Height and width of the network's input in pixels."""
    place: str
    free: int
    """Bytes."""
    allowed: int
    """Bytes of them that a rank may take."""

    def describe(self) -> str:
        """Return the plan in a line."""
        wanted, free = f"{self.layout.wanted_bytes / GIB:.2f} GiB", f"{self.free / GIB:.1f} GiB free {self.place}"
        kept = len(self.layout)
        allowed = f"of which --cache-share allows a rank {self.allowed / GIB:.2f} GiB"
        if not kept:
            return (
                f"decoded images at {self.size} px would take {wanted} of {free}, {allowed}: they are decoded in each"
                " epoch"
            )
        if self.layout.bytes < self.layout.wanted_bytes:
            return (
                f"decoded images at {self.size} px would take {wanted} of {free}, {allowed}: {counted(kept, 'image')}"
                " are kept"
                f" ({self.layout.bytes / GIB:.2f} GiB), the others decoded in each epoch"
            )
        return f"decoded images at {self.size} px are kept after the first epoch: {wanted} of {free}"


def plan_cache(
    table: SampleTable, size: int, options: CacheOptions, *, ranks: int, sharing: int = 1, reserved: int = 0
) -> CachePlan:
    """Plan the cache of the training images of a stage, those for validation included.

    Args:
        table: The sample table.
        size: Height and width of the network's input in pixels.
        options: Where, and how much.
        ranks: Ranks on this machine, which have the same share each.
        sharing: Of these, those that share a file.
        reserved: Bytes of the directory's disk that will be taken before.
    """
    if options.directory is None:
        free, shares, place = available_memory(), 1, "in memory"
    else:
        free, shares, place = max(0, _free_space(options.directory) - reserved), sharing, f"in {options.directory}"
    limit = int(free * options.share * shares / ranks)
    layout = CacheLayout.of(table, table.select("train"), size, limit)
    return CachePlan(layout=layout, size=size, place=place, free=free, allowed=limit)


class CacheKeeper:
    """Has the cache of one stage at a time; folds that a rank trains one after another share it.

    Args:
        options: Where, and how much.
        world: How many ranks share the machine; a rank trains alone until it joins a group.
    """

    def __init__(self, options: CacheOptions, world: World) -> None:
        self.options, self.world = options, world
        self.group = Group(rank=0, size=1, device=world.device)
        self._cache: DecodedCache | None = None

    def join(self, group: Group) -> None:
        """Share files with the ranks of this group from now on; what is in this rank's own memory stays."""
        if self.options.directory is not None:
            self._cache = None
        self.group = group

    def open(self, table: SampleTable, size: int) -> DecodedCache | None:
        """Return the cache of a stage, None where nothing is kept. Collective.

        That of an earlier stage is freed first, unless it serves this one too.
        """
        if self.options.share == 0 or (self._cache is not None and self._cache.layout.serves(table, size)):
            return self._cache
        self._cache = None
        opened = self._in_memory(table, size) if self.options.directory is None else self._in_file(table, size)
        self._cache = opened
        return opened

    def _in_memory(self, table: SampleTable, size: int) -> DecodedCache | None:
        plan = plan_cache(table, size, self.options, ranks=self.world.ranks_on_machine)
        self._log(plan)
        return _allocate(plan.layout)

    def _in_file(self, table: SampleTable, size: int) -> DecodedCache | None:
        machines = self.group.broadcast(self.group.gather(socket.gethostname()))
        mine = machines[self.group.rank]
        first = machines.index(mine)
        sharing = machines.count(mine)
        plan = plan_cache(table, size, self.options, ranks=max(sharing, self.world.ranks_on_machine), sharing=sharing)
        self._log(plan)
        file = path = None
        try:
            if first == self.group.rank:
                file, path = self._create()
            # Ranks of a machine have the same layout: that of the first.
            shared = self.group.broadcast(self.group.gather((path, len(plan.layout))))
            layout = self._prefix(table, size, shared[first][1])
            if file is None:
                file = _open(shared[first][0])
            self.group.barrier()
        finally:
            if path is not None:
                Path(path).unlink(missing_ok=True)
        return DecodedCache(layout, FileStorage(file)) if file is not None and len(layout) else None

    def _create(self) -> tuple[int | None, str | None]:
        try:
            return tempfile.mkstemp(prefix=temporary_prefix("decoded"), dir=self.options.directory)
        except OSError as error:
            log.warning("decoded images are not kept in %s: %s", self.options.directory, error.strerror or error)
            return None, None

    def _prefix(self, table: SampleTable, size: int, count: int) -> CacheLayout:
        return CacheLayout.of(table, table.select("train")[:count], size)

    def _log(self, plan: CachePlan) -> None:
        if self.group.is_leader:
            log.info("%s", plan.describe())


def _allocate(layout: CacheLayout) -> DecodedCache | None:
    if not len(layout):
        return None
    try:
        return DecodedCache(layout, MemoryStorage(storage_bytes(layout)))
    except OSError as error:
        log.warning("decoded images are not kept in memory: %s", error.strerror or error)
        return None


def _open(path: str | None) -> int | None:
    """Open another rank's file; in a container it may not be visible."""
    try:
        return None if path is None else os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        log.warning("decoded images are not shared with the other ranks of this machine: %s", error.strerror or error)
        return None


def _free_space(directory: Path) -> int:
    try:
        # A dry run does not make the directory.
        return shutil.disk_usage(
            next(path for path in (directory, *directory.absolute().parents) if path.exists())
        ).free
    except OSError:
        return 0


def plan_stages(
    table: SampleTable, sizes: Sequence[int], options: CacheOptions, ranks_on_machine: int, *, reserved: int = 0
) -> list[CachePlan]:
    """Plan the cache of each different size, for a dry run; ``reserved`` is that of ``plan_cache``."""
    return [
        plan_cache(table, size, options, ranks=ranks_on_machine, sharing=ranks_on_machine, reserved=reserved)
        for size in dict.fromkeys(sizes)
    ]
