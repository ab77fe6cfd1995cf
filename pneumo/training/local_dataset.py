"""The directory that a command reads its dataset from: the one that it was given, or a copy on the machine's disk.

With ``--cache-dir`` each machine copies the dataset once (``pneumo.dataset.local_copy``). Of the original, later starts
read dataset.json, to see that the copy is of the same dataset. When there is no answer, a run that was started goes on
with the complete copy of its dataset. A dataset that is on the disk of ``--cache-dir`` is read where it is.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pneumo.dataset import paths
from pneumo.dataset.local_copy import LocalCopy, complete_copies
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.origin import Origin, OriginLostError
from pneumo.dataset.table import SampleTable
from pneumo.distributed import heartbeat
from pneumo.distributed.world import World
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted
from pneumo.training import run_directory


def local_dataset(dataset: Path, cache: Path | None, world: World, run: Path | None = None) -> Path:
    """Return the directory to read a dataset from, once it is complete on every machine. Collective.

    Args:
        dataset: A directory, or a URL.
        cache: The directory of the copies on this machine; None = no copy is made.
        world: All ranks.
        run: The run that is started or resumed on the dataset.

    Raises:
        UserError: When there is no dataset, a URL is given without ``cache``, or the copy fails.
    """
    origin = _open(dataset, cache)
    if cache is None:
        return dataset
    manifest = world.on_leader(lambda: _manifest(dataset, origin, cache, run))
    if _is_same_disk(dataset, cache):
        log.debug("%s is on the disk of --cache-dir, and read where it is", dataset)
        chosen = dataset
    else:
        copy = LocalCopy(cache, manifest)
        copy.ensure(origin, heartbeat.touch)
        chosen = copy.path
    world.barrier()
    return chosen


def read_manifest(dataset: Path, cache: Path | None, run: Path) -> Manifest:
    """Return dataset.json of what ``local_dataset`` would return, without copying anything.

    Raises:
        UserError: When there is no dataset, or a URL is given without ``cache``.
    """
    origin = _open(dataset, cache)
    return Manifest.read(dataset) if cache is None else _manifest(dataset, origin, cache, run)


@dataclass(frozen=True)
class DryRunDataset:
    """What a dry run reads, and says of the copy."""

    path: Path
    """A complete dataset."""
    name: str
    """The dataset as it was given."""
    copied: int
    """Bytes that a training would copy into ``--cache-dir``."""
    words: str
    """What would be copied; empty without ``--cache-dir``."""


def plan_local_dataset(dataset: Path, cache: Path | None, run: Path) -> DryRunDataset:
    """Return what a dry run can read, and what a training would copy. Copies nothing.

    Raises:
        UserError: When the training would be refused, or a URL has no complete copy yet.
    """
    origin = _open(dataset, cache)
    if cache is None:
        return DryRunDataset(dataset, origin.name, 0, "")
    manifest = _manifest(dataset, origin, cache, run)
    copy = LocalCopy(cache, manifest)
    if _is_same_disk(dataset, cache):
        return DryRunDataset(dataset, origin.name, 0, "none: the dataset is on the disk of --cache-dir")
    if copy.is_complete:
        return DryRunDataset(copy.path, origin.name, 0, f"none: {copy.path} is complete")
    if origin.is_url:
        raise UserError(
            f"{origin.name} has {counted(manifest.shards, 'shard')}, which are not all in {copy.path}",
            "a dataset on a file system of this machine: a dry run measures steps on its images, and copies nothing",
            "start the training, which copies them first, or copy the dataset yourself",
        )
    plan = copy.plan(SampleTable.read(dataset))
    copy.check_space(plan, origin)
    return DryRunDataset(dataset, origin.name, plan.size, f"to {copy.path}: {plan.describe()}")


def _open(dataset: Path, cache: Path | None) -> Origin:
    origin = Origin(dataset)
    if origin.is_url and cache is None:
        raise UserError(
            f"--dataset {origin.name} without --cache-dir",
            "a directory on a disk of this machine, to which the dataset is copied",
            "add --cache-dir",
        )
    return origin


def _manifest(dataset: Path, origin: Origin, cache: Path, run: Path | None) -> Manifest:
    """Return dataset.json: that of the original, or, without an answer, of the complete copy that the run needs."""
    try:
        return origin.manifest()
    except (FileNotFoundError, OriginLostError) as error:
        if run is not None and (copy := _find_copy(cache, run)) is not None:
            log.warning(
                "%s cannot be read: going on with %s, a complete copy of the dataset that the run was started on",
                origin.name, copy.path,
            )  # fmt: skip
            return copy.manifest
        if not origin.is_url:
            # Its message says what else the directory may be.
            return Manifest.read(dataset)
        raise UserError(
            str(error) if isinstance(error, OriginLostError) else f"{origin.name}: no dataset.json there",
            "the URL of a dataset that job/shard.py wrote",
            "check the URL, the network and the credentials",
        ) from error


def _find_copy(cache: Path, run: Path) -> LocalCopy | None:
    """Return the complete copy of the dataset that a run was started on."""
    with suppress(UserError):
        wanted = run_directory.load(run).dataset
        for copy in complete_copies(cache):
            if (copy.manifest.samples_digest, copy.manifest.folds_digest) == (wanted.digest, wanted.folds_digest):
                return copy
    return None


def _is_same_disk(dataset: Path, cache: Path) -> bool:
    """Return whether a copy would be on the file system that the dataset is on, and no faster to read."""
    above = next(path for path in (cache.absolute(), *cache.absolute().parents) if path.exists())
    try:
        # Of the file: the directory may be the place of a mount that is gone.
        return paths.manifest(dataset).stat().st_dev == above.stat().st_dev
    except OSError:
        return False
