"""The record that tells that a shard is written, and what became of its files.

Apart from ``shard_writer``, which writes it, so that worker processes need not import what the table is made with.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pneumo.dataset import paths
from pneumo.dataset.limits import Conditions
from pneumo.dataset.plan import ShardPlan
from pneumo.dataset.scan import QuarantineRow
from pneumo.dataset.shard_writer import ShardRecord
from pneumo.dataset.table import SCHEMA
from pneumo.runtime import config, documents
from pneumo.runtime.errors import UserError, first_line


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """A ``ShardRecord`` that was read; its rows take a tenth of the memory of dictionaries."""

    rows: pa.Table
    """Of ``SCHEMA``, without folds yet."""
    quarantined: list[QuarantineRow]
    conditions: Conditions


def is_done(dataset: Path, shard: ShardPlan) -> bool:
    """Return whether the shard has been written, by this, an earlier or a parallel process.

    Raises:
        UserError: When its files are missing and its record, which could tell whether it has any, is damaged.
    """
    if not paths.shard_record(dataset, shard.name).is_file():
        return False
    files = paths.tar(dataset, shard.name), paths.index(dataset, shard.name)
    # A shard of which every file was quarantined has none.
    return all(path.is_file() for path in files) or not len(read(dataset, shard).rows)


def read(dataset: Path, shard: ShardPlan) -> FinishedShard:
    """Read the record of a finished shard.

    Raises:
        FileNotFoundError: When there is none.
        UserError: When it is damaged.
    """
    path = paths.shard_record(dataset, shard.name)
    try:
        record = config.from_json(ShardRecord, documents.read(path), str(path))
        if any(list(row) != SCHEMA.names for row in record.rows):
            raise ValueError("other columns than those of the table of samples")
        rows = pa.Table.from_pylist(record.rows, schema=SCHEMA)
    except (ValueError, TypeError, UserError) as error:
        raise UserError(
            f"{path} cannot be read ({error.found if isinstance(error, UserError) else first_line(error)})",
            "the record of a finished shard",
            "remove it and start the same command again, which writes the shard again",
        ) from None
    return FinishedShard(rows, record.quarantined, record.conditions)
