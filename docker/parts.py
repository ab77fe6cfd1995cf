"""A stream of bytes, cut into files of at most a given size."""

import hashlib
import io
from pathlib import Path
from typing import IO


class PartWriter(io.RawIOBase):
    """Takes a stream and writes part-000, part-001 and so on."""

    def __init__(self, folder: Path, part_size: int) -> None:
        self.folder = folder
        self.part_size = part_size
        self.number = 0
        self.room = 0
        self.file: IO[bytes] | None = None

    def writable(self) -> bool:
        """Say that it takes bytes."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all of the data, over as many parts as it takes."""
        view = memoryview(data)
        while view:
            if not self.room:
                self._next()
            assert self.file is not None
            piece = view[: self.room]
            self.file.write(piece)
            self.room -= len(piece)
            view = view[len(piece) :]
        return len(data)

    def close(self) -> None:
        """End the last part."""
        if self.file is not None:
            self.file.close()
            self.file = None
        super().close()

    def _next(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file = (self.folder / f"part-{self.number:03d}").open("wb")
        self.number += 1
        self.room = self.part_size


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
