"""What a run goes without: damaged training images, decided once, when the run is started with --skip-damaged.

The set of samples is part of what a run computes. So it is written into recipe.json with the dataset's digests, and
holds for good: whoever takes the run up, after an interruption, with other ranks or for another fold, leaves out the
same images and does not look again. To all that follows the dataset is one that never had them: they are in no epoch,
in no fold's evidence and in no figure, and metrics.json says how many are missing.

An image that is damaged only later ends the run at its next reading, with exit code 2 and its name: without it the
result would be another run's. Copy it back and go on, or start a new run. One that has been mended stays out.

Test images are not in the list, as nothing is learned from them: ``inference.submit`` looks at them itself.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.loading import damage
from pneumo.runtime.console import log
from pneumo.training import run_directory


def resolve(run: Path, reader: ShardReader, world: World, *, skip: bool, workers: int) -> dict[str, str]:
    """Return the training images that a run goes without, each with what was found. Collective over the world.

    Args:
        run: The run's directory; one that was started has its list.
        reader: The whole dataset.
        world: All ranks, which share the reading.
        skip: Whether a run that is not started yet may leave out what is damaged.
        workers: Threads of this rank.

    Raises:
        UserError: When the run's record cannot be read.
    """
    started = run_directory.load_if_exists(run) if world.is_leader else None
    excluded = world.broadcast(None if started is None else started.dataset.excluded)
    if excluded is None:
        excluded = _look(reader, world, workers) if skip else {}
    elif skip and world.is_leader:
        log.info("%s is started already: it goes on without the images it was started without, and no others", run)
    if excluded and world.is_leader:
        left_out = np.isin(reader.table.image_id, list(excluded)) & (reader.table.split == "train")
        log.warning(
            "%d damaged training image(s) (%d positive) are left out, first: %s",
            len(excluded), int(reader.table.positive[left_out].sum()), next(iter(excluded.values())),
        )  # fmt: skip
    return excluded


def _look(reader: ShardReader, world: World, workers: int) -> dict[str, str]:
    """Read every sample; only the training images are the run's to leave out."""
    table = reader.table
    found = damage.find_damaged(reader, np.arange(len(table)), world, workers=workers)
    train = {str(table.image_id[row]): reason for row, reason in found.items() if table.split[row] == "train"}
    if world.is_leader and len(train) < len(found):
        log.warning(
            "%d test image(s) are damaged: unless they are mended their masks will be empty", len(found) - len(train)
        )
    return train


def caveats(excluded: Mapping[str, str]) -> list[str]:
    """Say what a report must say about the images that were left out."""
    if not excluded:
        return []
    names = ", ".join(list(excluded)[:3])
    return [
        f"{len(excluded)} damaged training image(s) were left out, neither trained on nor scored ({names}"
        f"{' ...' * (len(excluded) > 3)}); recipe.json names each and what was found"
    ]
