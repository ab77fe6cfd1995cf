"""Random access to the members of the shards by the table's byte offsets.

Members are read and not mapped: a mapped page that cannot be read, because a shard was truncated or its file system
unmounted during a run, ends the process without a message, and copying a member costs a hundredth of decoding it.

Every member is compared with its SHA-256 in the table when it is first read, so that no flipped bit is trained on or
scored unnoticed: decoders accept most of them, and one in a mask's run lengths moves the mask. Hashing costs a
thirtieth of decoding.
"""

import hashlib
import os
import threading
from collections.abc import Collection
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pneumo.dataset import paths
from pneumo.dataset.table import SampleTable
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

REPAIR_HINT = (
    "copy the shard or build the dataset again; job/verify.py lists all that is damaged, "
    "and --skip-damaged leaves it out (see job/README.md)"
)
"""What to do about a damaged sample, for messages."""


class ShardReader:
    """Reads image and mask members of a dataset by row number.

    A tar is opened when its first member is read and stays open, so that a run whose dataset is replaced keeps reading
    the one it began with. Threads may share a reader.

    Args:
        dataset: The dataset's directory.
        table: Its table; row numbers refer to it.
    """

    def __init__(self, dataset: Path, table: SampleTable) -> None:
        self.dataset, self.table = dataset, table
        self._files: dict[str, FileIO] = {}
        self._lock = threading.Lock()
        # A member that was what the table says is not hashed again: an epoch later it would cost as much as the warp.
        self._verified = {extension: np.zeros(len(table), np.bool_) for extension in ("image", "rle")}

    def image(self, row: int) -> memoryview:
        """Return a row's JPEG or PNG file, (bytes,).

        Raises:
            UserError: When the shard is missing, ends before the member does, or has other bytes there.
        """
        table = self.table
        extent = int(table.offset[row]), int(table.bytes[row])
        return self._member(
            row, str(table.image_format[row]), *extent, table.sha256[row].decode(), self._verified["image"]
        )

    def rle(self, row: int) -> str:
        """Return a training row's mask as Kaggle's relative run lengths, ``-1`` when it is empty.

        The table has which masks are empty: they are not read.

        Raises:
            UserError: When the shard is missing, ends before the member does, or has other bytes there.
            ValueError: When the row is no training image, and has no mask.
        """
        table = self.table
        extent = int(table.rle_offset[row]), int(table.rle_bytes[row])
        if extent[0] < 0:
            raise ValueError(f"{self.describe(row)} is of the split {table.split[row]} and has no mask")
        if not table.positive[row]:
            return rle.EMPTY
        return str(self._member(row, "rle", *extent, table.rle_sha256[row].decode(), self._verified["rle"]), "ascii")

    def describe(self, row: int) -> str:
        """Return a row's image and shard, for messages."""
        return f"image {self.table.image_id[row]} in {paths.SHARDS}/{self.table.shard[row]} of {self.dataset}"

    def exclude(self, image_ids: Collection[str]) -> "ShardReader":
        """Return a reader without some images, see ``SampleTable.exclude``; its row numbers are others."""
        return ShardReader(self.dataset, self.table.exclude(image_ids))

    def close(self) -> None:
        """Close the tars; until then a deleted one takes space on the disk. A later read opens its tar again."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _member(
        self, row: int, extension: str, offset: int, size: int, sha256: str, verified: npt.NDArray[np.bool_]
    ) -> memoryview:
        file = self._open(row)
        # Several times as fast as os.pread, whose new bytes object is mapped anew each time.
        content = np.empty(size, np.uint8).data
        try:
            read = os.preadv(file, [content], offset)
            end = os.fstat(file).st_size if read != size else 0
        except OSError as error:
            raise self._unreadable(row, error) from None
        if read != size:
            raise UserError(
                f"{self.describe(row)}: the shard ends at byte {end}",
                f"the member's bytes {offset} to {offset + size}",
                f"the shard is incomplete; {REPAIR_HINT}",
            )
        if not verified[row]:
            if hashlib.sha256(content).hexdigest() != sha256:
                raise UserError(
                    f"{self.describe(row)}: the {extension} member is damaged",
                    "bytes with the SHA-256 that the table has for it",
                    REPAIR_HINT,
                )
            verified[row] = True
        return content

    def _open(self, row: int) -> int:
        name = str(self.table.shard[row])
        with self._lock:
            if name not in self._files:
                try:
                    self._files[name] = (paths.shards(self.dataset) / name).open("rb", buffering=0)
                except OSError as error:
                    raise self._unreadable(row, error) from None
            return self._files[name].fileno()

    def _unreadable(self, row: int, error: OSError) -> UserError:
        return UserError(
            f"{self.describe(row)}: {error.strerror or error}",
            "every shard that the table names",
            REPAIR_HINT,
        )
