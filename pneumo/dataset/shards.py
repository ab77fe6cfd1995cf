"""Random access to the members of the shards by the table's byte offsets, over memory-mapped tars."""

import mmap
import threading
from pathlib import Path
from typing import Any

from pneumo.dataset import layout
from pneumo.dataset.table import SampleTable
from pneumo.errors import UserError


class ShardReader:
    """Reads image and mask members of a dataset by row number.

    A tar is mapped when its first member is asked for and stays mapped. One reader may be shared by threads, and
    may be sent to another process, which maps the tars anew.

    Args:
        dataset: The dataset's directory.
        table: Its table; row numbers refer to it.
    """

    def __init__(self, dataset: Path, table: SampleTable) -> None:
        self.dataset, self.table = dataset, table
        self._maps: dict[str, memoryview] = {}
        self._lock = threading.Lock()

    def image(self, row: int) -> memoryview:
        """Return the bytes of a row's JPEG or PNG file, without copying them.

        Raises:
            UserError: When the shard is missing or ends before the member does.
        """
        return self._member(row, int(self.table.offset[row]), int(self.table.bytes[row]))

    def rle(self, row: int) -> str:
        """Return a training row's mask as Kaggle's relative run lengths, ``-1`` when it is empty.

        Raises:
            UserError: When the shard is missing or ends before the member does.
            ValueError: When the row is a test image, which has no mask.
        """
        offset = int(self.table.rle_offset[row])
        if offset < 0:
            raise ValueError(f"{self.describe(row)} is a {self.table.split[row]} image and has no mask")
        try:
            return str(self._member(row, offset, int(self.table.rle_bytes[row])), "ascii")
        except UnicodeDecodeError:
            raise UserError(
                f"{self.describe(row)}: the mask is not text", "run lengths", "build the dataset again"
            ) from None

    def describe(self, row: int) -> str:
        """Name a row's image and shard, for messages."""
        return f"image {self.table.image_id[row]} in {layout.SHARDS}/{self.table.shard[row]} of {self.dataset}"

    def _member(self, row: int, offset: int, size: int) -> memoryview:
        content = self._open(row)
        if offset + size > len(content):
            raise UserError(
                f"{self.describe(row)}: the shard ends at byte {len(content)}",
                f"the member's bytes {offset} to {offset + size}",
                "the shard is damaged or half copied; copy it or build the dataset again",
            )
        return content[offset : offset + size]

    def _open(self, row: int) -> memoryview:
        name = str(self.table.shard[row])
        content = self._maps.get(name)
        if content is None:
            with self._lock:
                if name not in self._maps:
                    self._maps[name] = self._map(row, name)
                content = self._maps[name]
        return content

    def _map(self, row: int, name: str) -> memoryview:
        path = layout.shards(self.dataset) / name
        try:
            with path.open("rb") as file:
                # An empty file cannot be mapped; it is a torn shard like any other that is too short.
                if path.stat().st_size == 0:
                    return memoryview(b"")
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise UserError(
                f"{self.describe(row)}: {error.strerror or error}",
                "every shard that the table names",
                "copy the whole dataset directory or build it again",
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "table": self.table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
