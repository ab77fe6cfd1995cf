"""One pass over the shards: the hash of each image, the lesions of each positive one, and what cannot be read."""

from dataclasses import dataclass
from functools import partial

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.images import describe_damage, read_image
from pneumo.loading.masks import read_mask
from pneumo.loading.prefetch import threads
from pneumo.reporting.explore import hashing, lesions
from pneumo.reporting.explore.hashing import Hash
from pneumo.reporting.explore.lesions import Lesions
from pneumo.runtime.console import Progress
from pneumo.runtime.errors import UserError


@dataclass(frozen=True, eq=False, kw_only=True)
class ScannedImage:
    """What the pixels of one image say."""

    hash: Hash | None = None
    """None of an image that is flat or damaged."""
    lesions: Lesions | None = None
    """None of an image without a mask, or a damaged one."""
    damage: str = ""
    """What is damaged; empty for a sample that can be used."""


def scan(reader: ShardReader, workers: int) -> list[ScannedImage]:
    """Read every sample once, and return what was found in the order of the table.

    Args:
        reader: Reads the dataset.
        workers: Threads that decode.
    """
    rows = range(len(reader.table))
    found = []
    with threads(workers) as pool, Progress("explore", len(rows), unit="images") as progress:
        for one in pool.map(partial(_scan_row, reader), rows):
            found.append(one)
            progress.step()
    return found


def _scan_row(reader: ShardReader, row: int) -> ScannedImage:
    try:
        measured = lesions.measure(read_mask(reader, row)) if reader.table.positive[row] else None
        return ScannedImage(hash=hashing.compute(read_image(reader, row, _factor(reader, row))), lesions=measured)
    except UserError as error:
        return ScannedImage(damage=describe_damage(reader, error))


def _factor(reader: ShardReader, row: int) -> int:
    """Return by how much an image may be reduced when it is decoded, which is faster, and still be large enough."""
    side = min(reader.table.shape(row))
    return next(factor for factor in (8, 4, 2, 1) if side // factor >= hashing.SIDE or factor == 1)
