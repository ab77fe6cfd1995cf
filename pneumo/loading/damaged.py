"""Find damaged samples, by reading each once as the loaders do.

Reading compares each file with its SHA-256 (see ``ShardReader``); decoding finds what was not an image when the
shard was written. Training and prediction end at the first damaged sample, unless it was found here before.
"""

from functools import partial

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed import heartbeat
from pneumo.distributed.world import World
from pneumo.loading.images import describe_damage, read_image
from pneumo.loading.masks import read_mask
from pneumo.loading.prefetch import threads
from pneumo.runtime.console import Progress
from pneumo.runtime.errors import UserError


def find_damaged(reader: ShardReader, rows: npt.NDArray[np.int64], world: World, *, workers: int) -> dict[int, str]:
    """Return the damaged rows, each with what was found. Collective: the ranks divide the rows among them.

    Args:
        reader: Reads the samples' files.
        rows: Rows of the sample table to read, the same on every rank.
        world: All ranks.
        workers: Threads of this rank.

    Returns:
        The same on every rank, in the order of ``rows``.
    """
    mine = rows[world.rank :: world.size].tolist()
    found = {}
    with threads(workers) as pool, Progress("read", len(mine), unit="images", enabled=world.is_leader) as progress:
        for row, reason in zip(mine, pool.map(partial(_find_damage, reader), mine), strict=True):
            if reason:
                found[row] = reason
            heartbeat.touch("looking for damaged samples")
            progress.step(note=f"{len(found)} damaged")
    merged = {row: reason for part in world.gather(found) for row, reason in part.items()}
    return world.broadcast({row: merged[row] for row in rows.tolist() if row in merged})


def _find_damage(reader: ShardReader, row: int) -> str:
    """Return what is damaged in a sample, an empty string when nothing is."""
    try:
        read_image(reader, row)
        if reader.table.split[row] == "train":
            read_mask(reader, row)
    except UserError as error:
        # It is recorded in the run.
        return describe_damage(reader, error)
    return ""
