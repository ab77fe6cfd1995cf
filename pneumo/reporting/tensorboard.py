"""TensorBoard curves of a fold, written by one rank; after a resume they go on without a doubled stretch."""

from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter


class FoldCurves:
    """Curves of one fold.

    Args:
        folder: The fold's directory; its event files lie in it.
        step: Optimiser steps already done; later points of an earlier try are hidden.
        enabled: False on ranks that do not write.
    """

    def __init__(self, folder: Path, step: int, *, enabled: bool) -> None:
        # The mark is a no-op on a fresh log directory.
        self._writer = SummaryWriter(str(folder), purge_step=step + 1) if enabled else None

    def add(self, step: int, values: dict[str, float]) -> None:
        """Add a point at ``step`` to each named curve; names without a group go under ``run/``."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name if "/" in name else f"run/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
