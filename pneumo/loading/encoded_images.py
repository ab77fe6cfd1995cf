"""A sample's JPEG or PNG file out of its shard, and what is said when it cannot be used."""

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import REPAIR_HINT, ShardReader
from pneumo.runtime.errors import UserError

TAIL = 16
"""Bytes at a file's end that are never all zero: a JPEG ends with a marker and at most one byte of padding."""


def encoded_image(reader: ShardReader, row: int) -> npt.NDArray[np.uint8]:
    """Return a row's file, (bytes,), without copying it.

    Raises:
        UserError: When the member is damaged, or was when it came into the shard and its end had never been written:
            decoders take zeros for a gray area, and what looks like a whole file may be half of one that was copied
            into space set aside for it.
    """
    data = np.frombuffer(reader.image(row), np.uint8)
    if not data[-TAIL:].any():
        raise damaged_sample(reader, row, f"the {reader.table.encoding[row]} file ends in zeros", "a whole file")
    return data


def damaged_sample(reader: ShardReader, row: int, found: str, expected: str) -> UserError:
    """Return the error that names a row's image and shard.

    Args:
        reader: Knows the names.
        row: Row of the sample table.
        found: What is wrong with which member.
        expected: What it should have been.
    """
    return UserError(f"{reader.describe(row)}: {found}", expected, REPAIR_HINT)
