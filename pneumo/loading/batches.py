"""What loaders are asked for and what they give: the contract that both fulfil, and the choice between them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.loading.augmentation import Augmentation, AugmentationParameters, draw, identity
from pneumo.runtime.errors import UserError

LoaderKind = Literal["auto", "dali", "opencv"]


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchPlan:
    """Which samples make a batch, and from what their augmentation is drawn."""

    rows: npt.NDArray[np.int64]
    """(n,) rows of the sample table."""
    positions: npt.NDArray[np.int64]
    """(n,) places in the epoch's order."""
    epoch: int
    """Number of the epoch from 0, counted over all stages."""
    size: int
    """Height and width of the network's input in pixels."""
    seed: int
    """The run's seed."""
    augmentation: Augmentation | None
    """What may be done to the images; None gives them as they are (validation)."""

    def __post_init__(self) -> None:
        assert self.rows.shape == self.positions.shape
        assert len(self.rows) > 0, "a batch holds at least one sample"

    def parameters(self, index: int, table: SampleTable) -> AugmentationParameters:
        """Return what is to be done to sample ``index`` of the batch."""
        row = self.rows[index]
        rows, columns = int(table.rows[row]), int(table.columns[row])
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
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Samples on the device, ready for the network."""

    image: torch.Tensor
    """(N, 1, H, W) float32 in [0, 1], black outside the image."""
    mask: torch.Tensor
    """(N, 1, H, W) float32, 1 inside a pneumothorax and 0 elsewhere; all 0 in the test split."""
    rows: npt.NDArray[np.int64]
    """(N,) rows of the sample table."""


class Loader(Protocol):
    """Turns plans into batches, one for one and in order, working a few plans ahead of the batch it gives.

    A damaged shard or member raises UserError that names the image and its shard. Closing the iterator early (or
    dropping it) ends the work that was under way.
    """

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """Yield the batch of each plan."""
        ...


def build(
    kind: LoaderKind,
    reader: ShardReader,
    table: SampleTable,
    device: torch.device,
    workers: int,
    *,
    augmentation: Augmentation | None = None,
) -> Loader:
    """Make a loader.

    Args:
        kind: ``dali``, ``opencv``, or ``auto`` for DALI on a CUDA device where it is installed and no distortion
            is asked for, and OpenCV otherwise: on a CPU it is several times faster.
        reader: Gives the members' bytes.
        table: The sample table that plans refer to.
        device: Where batches go.
        workers: Threads that decode and warp.
        augmentation: What the plans will ask for, as far as it decides on the loader.

    Raises:
        UserError: When the loader that was asked for is not installed or cannot do the augmentation, and when
            AlbumentationsX takes the place of albumentations.
    """
    assert workers >= 1
    distorts = augmentation is not None and augmentation.distortion > 0
    if kind == "dali" and distorts:
        raise UserError(
            f"loader dali with augmentation distortion = {augmentation.distortion if augmentation else 0}",
            "distortion = 0, or the loader opencv: elastic, grid and optical distortion are albumentations' alone",
            "set --loader opencv or --augmentation.distortion 0",
        )
    if kind == "auto":
        kind = "dali" if device.type == "cuda" and has_dali() and not distorts else "opencv"
    if kind == "dali":
        return _build_dali(reader, table, device, workers)
    if distorts:
        check_albumentations()
    from pneumo.loading.opencv import OpenCvLoader

    return OpenCvLoader(reader, table, device, workers)


def _build_dali(reader: ShardReader, table: SampleTable, device: torch.device, workers: int) -> Loader:
    if not has_dali():
        raise UserError(
            "loader dali, and DALI is not installed",
            "nvidia-dali-cuda130 or nvidia-dali-cuda120, which exist for Linux",
            "install the extra cuda13 or cuda12 of this package, or set --loader opencv",
        )
    from pneumo.loading.dali import DaliLoader

    return DaliLoader(reader, table, device, workers)


def has_dali() -> bool:
    """Tell whether DALI is installed, without importing it."""
    return find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None


def check_albumentations() -> None:
    """Refuse AlbumentationsX, which has albumentations' import name, other results and another licence (AGPL).

    Raises:
        UserError: When the distribution ``albumentationsx`` is installed.
    """
    try:
        version = distribution("albumentationsx").version
    except PackageNotFoundError:
        return
    raise UserError(
        f"albumentationsx {version} is installed",
        "albumentations 2.0.8, whose import name it takes over",
        "pip uninstall albumentationsx, then pip install --force-reinstall albumentations==2.0.8",
    )
