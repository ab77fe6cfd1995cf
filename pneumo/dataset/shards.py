"""Random access to the members of the shards by the table's byte offsets.

Members are read and not mapped: a mapped page that cannot be read, because a shard was cut short or its file system
went away under a run, ends the process without a word, and copying a member costs a hundredth of decoding it.
"""

import os
import threading
from io import FileIO
from pathlib import Path
from typing import Any

from pneumo.dataset import layout
from pneumo.dataset.table import SampleTable
from pneumo.errors import UserError


class ShardReader:
    """Reads image and mask members of a dataset by row number.

    A tar is opened when its first member is asked for and stays open, so that a dataset that is replaced under a run
    goes on being the one it was. One reader may be shared by threads, and may be sent to another process, which
    opens the tars anew.

    Args:
        dataset: The dataset's directory.
        table: Its table; row numbers refer to it.
    """

    def __init__(self, dataset: Path, table: SampleTable) -> None:
        self.dataset, self.table = dataset, table
        self._files: dict[str, FileIO] = {}
        self._lock = threading.Lock()

    def image(self, row: int) -> bytes:
        """Return a row's JPEG or PNG file.

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

    def _member(self, row: int, offset: int, size: int) -> bytes:
        file = self._open(row)
        try:
            content = os.pread(file, size, offset)
            end = os.fstat(file).st_size
        except OSError as error:
            raise self._unreadable(row, error) from None
        if len(content) != size:
            raise UserError(
                f"{self.describe(row)}: the shard ends at byte {end}",
                f"the member's bytes {offset} to {offset + size}",
                "the shard is damaged or half copied; copy it or build the dataset again",
            )
        return content

    def _open(self, row: int) -> int:
        name = str(self.table.shard[row])
        with self._lock:
            if name not in self._files:
                try:
                    self._files[name] = (layout.shards(self.dataset) / name).open("rb", buffering=0)
                except OSError as error:
                    raise self._unreadable(row, error) from None
            return self._files[name].fileno()

    def _unreadable(self, row: int, error: OSError) -> UserError:
        return UserError(
            f"{self.describe(row)}: {error.strerror or error}",
            "every shard that the table names",
            "copy the whole dataset directory or build it again",
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "table": self.table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
