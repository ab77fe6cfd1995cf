"""Find the samples that cannot be used, by reading each once as the loaders do.

Reading holds a member against its SHA-256 (see ``ShardReader``); decoding finds what was no image when it came into
the shard. Training and prediction end at the first such sample; whoever wants to go on without them asks here first.
"""

from functools import partial

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed import heartbeat
from pneumo.distributed.world import World
from pneumo.loading.masks import read_mask
from pneumo.loading.opencv import read_image
from pneumo.loading.prefetch import threads
from pneumo.runtime.console import Progress
from pneumo.runtime.errors import UserError


def find(reader: ShardReader, rows: npt.NDArray[np.int64], world: World, *, workers: int) -> dict[int, str]:
    """Return the rows that cannot be used, each with the reason. Collective over the ranks, which share the work.

    Args:
        reader: Gives the members.
        rows: Rows of the sample table to look at; every rank gives the same.
        world: All ranks.
        workers: Threads of this rank.

    Returns:
        The same on every rank, in the order of the rows.
    """
    mine = rows[world.rank :: world.size].tolist()
    found = {}
    with threads(workers) as pool, Progress("read", len(mine), unit="images", enabled=world.is_leader) as progress:
        for row, reason in zip(mine, pool.map(partial(_fault, reader), mine), strict=True):
            if reason:
                found[row] = reason
            heartbeat.touch("looking for damaged samples")
            progress.step(note=f"{len(found)} damaged")
    together = {row: reason for part in world.gather(found) for row, reason in part.items()}
    return world.broadcast({row: together[row] for row in rows.tolist() if row in together})


def _fault(reader: ShardReader, row: int) -> str:
    """Return what keeps a sample from being used, nothing when it can be."""
    try:
        read_image(reader, row)
        if reader.table.split[row] == "train":
            read_mask(reader, row)
    except UserError as error:
        # The reason is recorded in the run, and is to be the same wherever the dataset is mounted.
        return error.found.replace(f" of {reader.dataset}", "", 1)
    return ""
