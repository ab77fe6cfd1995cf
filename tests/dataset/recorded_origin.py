"""An origin that keeps the names of what is read from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumo.dataset.origin import Origin, OriginFile


class Recorded(Origin):
    """Keeps the names of what is read."""

    def __init__(self, dataset: Path) -> None:
        super().__init__(dataset)
        self.read: list[str] = []

    @contextmanager
    def open(self, name: str) -> Iterator[OriginFile]:
        self.read.append(name)
        with super().open(name) as file:
            yield file

    @property
    def shards(self) -> list[str]:
        return sorted(name for name in self.read if name.startswith("shards/"))
