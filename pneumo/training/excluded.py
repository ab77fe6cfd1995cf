"""Damaged training images that a run excludes, decided once, when it is started with --skip-damaged.

The set of samples is part of what a run computes. So it is written into recipe.json with the dataset's digests, and
does not change once a fold has begun: whoever resumes the run, with other ranks or for another fold, excludes the same
images without reading them again. Everything after that works as if the dataset had never had them: they are in no
epoch, no histograms and no metric, and metrics.json has the number of those with a label.

An image that is damaged later ends the run at its next reading, with exit code 2 and its name: without it the result
would be that of another run. Restore the image and resume, or start a new run. An excluded image that is repaired stays
excluded.

Test images are not in the list, since nothing is learned from them: ``inference.submit`` reads them itself.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pneumo.dataset.paths import Split
from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.loading.damaged import find_damaged
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted
from pneumo.training import run_start

Reasons = dict[str, str]
"""Ids of images, each with what was found."""


def resolve_excluded(
    run: Path, reader: ShardReader, world: World, *, skip: bool, workers: int
) -> tuple[Reasons, Reasons]:
    """Return the training images that a run excludes, those with a label and those without. Collective over the world.

    Args:
        run: The run's directory; a run that has begun has its list.
        reader: The whole dataset.
        world: All ranks, which share the reading.
        skip: Whether a run that has not begun may exclude damaged images.
        workers: Threads of this rank.

    Raises:
        UserError: When the run's recipe.json cannot be read.
    """
    started = world.on_leader(lambda: run_start.load_if_begun(run))
    if started is not None:
        excluded, unlabeled = started.dataset.excluded, started.dataset.excluded_unlabeled
    else:
        excluded, unlabeled = _find_training_images(reader, world, workers) if skip else ({}, {})
    if started is not None and skip and world.is_leader:
        log.info("%s has begun before: it excludes the same images as then, and no others", run)
    if excluded and world.is_leader:
        is_excluded = np.isin(reader.table.image_id, list(excluded)) & (reader.table.split == "train")
        log.warning(
            "excluded: %s (%d positive), first: %s",
            counted(len(excluded), "damaged training image"),
            int(reader.table.positive[is_excluded].sum()),
            next(iter(excluded.values())),
        )
    if unlabeled and world.is_leader:
        images = counted(len(unlabeled), "damaged unlabeled image")
        log.warning("excluded: %s, first: %s", images, next(iter(unlabeled.values())))
    return excluded, unlabeled


def _find_training_images(reader: ShardReader, world: World, workers: int) -> tuple[Reasons, Reasons]:
    """Read every sample and return the damaged training images, those with a label and those without."""
    table = reader.table
    found = find_damaged(reader, np.arange(len(table)), world, workers=workers)

    def of(split: Split) -> Reasons:
        return {str(table.image_id[row]): reason for row, reason in found.items() if table.split[row] == split}

    if world.is_leader and (tests := of("test")):
        damaged = counted(
            len(tests),
            "test image is damaged: unless repaired, it gets an empty mask",
            "test images are damaged: unless repaired, they get empty masks",
        )
        log.warning("%s", damaged)
    return of("train"), of("unlabeled")


def exclusion_caveats(excluded: Mapping[str, str]) -> list[str]:
    """Return what a report must say about the images that were excluded."""
    if not excluded:
        return []
    return [
        f"excluded, neither trained on nor scored: {counted(len(excluded), 'damaged training image')}; recipe.json"
        " names each and what was found"
    ]
