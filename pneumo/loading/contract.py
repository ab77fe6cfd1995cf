"""What loaders are given and what they return: the contract that both fulfil."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.table import SampleTable
from pneumo.loading.augmentation.parameters import AugmentationParameters, draw, identity
from pneumo.loading.augmentation.registry import Augmentation


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchPlan:
    """Which samples make a batch, and from what their augmentation is drawn."""

    rows: npt.NDArray[np.int64]
    """(N,) rows of the sample table."""
    positions: npt.NDArray[np.int64]
    """(N,) positions in the epoch's order."""
    epoch: int
    """Number of the epoch from 0, counted over all stages."""
    size: int
    """Height and width of the image in pixels, as letterboxed."""
    crop_size: int | None = None
    """Height and width of a random part of it that is the network's input; None = all of it."""
    seed: int
    """The run's seed."""
    augmentation: Augmentation | None
    """Random changes to the images; None leaves them as they are (validation)."""
    with_masks: bool = True
    """Whether the batch has masks, too."""

    def __post_init__(self) -> None:
        assert self.rows.shape == self.positions.shape
        assert len(self.rows) > 0, "a batch holds at least one sample"
        assert self.crop_size is None or self.augmentation is not None, "what is not augmented is not cropped"

    @property
    def input_size(self) -> int:
        """Height and width of the network's input in pixels."""
        return self.size if self.crop_size is None else self.crop_size

    def parameters(self, index: int, table: SampleTable) -> AugmentationParameters:
        """Return what is to be done to sample ``index`` of the batch."""
        rows, columns = table.shape(int(self.rows[index]))
        if self.augmentation is None:
            return identity(rows, columns, self.size)
        return draw(
            self.augmentation,
            seed=self.seed,
            epoch=self.epoch,
            position=int(self.positions[index]),
            rows=rows,
            columns=columns,
            size=self.size,
            crop_size=self.crop_size,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Samples on the device, ready for the network."""

    image: torch.Tensor
    """(N, 1, H, W) float32 in [0, 1], black outside the image."""
    mask: torch.Tensor
    """(N, 1, H, W) float32, 1 inside a pneumothorax and 0 elsewhere; all 0 in the test split. (0,) when the
    plan is without masks."""
    rows: npt.NDArray[np.int64]
    """(N,) rows of the sample table."""


class Loader(Protocol):
    """Turns plans into batches, one for one and in order, preparing a few batches ahead of the one it yields.

    A damaged sample raises UserError that names the image and its shard. Closing the iterator early (or dropping it)
    cancels the batches in flight.
    """

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """Yield the batch of each plan."""
        ...
