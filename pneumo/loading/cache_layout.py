"""Where a cache of decoded samples has each of them: a pure function of the sample table and the network's size.

An image is kept as ``images.read_reduced`` returns it, which takes a byte for each pixel of a JPEG and two for one of a
PNG, and a mask as its run lengths. So the size of a cache is known before any image is read.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pneumo.dataset.table import Rows, SampleTable
from pneumo.loading.geometry import downsample_factor, downsampled_shape
from pneumo.loading.images import reduced_type

ALIGNMENT = 64
"""Bytes to whose multiples samples are aligned: a line of a processor's cache."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CacheLayout:
    """The samples that a cache has room for, and where."""

    table: SampleTable
    factors: npt.NDArray[np.int64]
    """(n,) factor by which each image of the table is downsampled, see ``geometry.downsample_factor``."""
    offsets: npt.NDArray[np.int64]
    """(n,) first byte of each sample's image, which its run lengths follow; -1 for samples without a place."""
    wanted_bytes: int
    """Bytes for all samples that were asked for."""
    bytes: int
    """Bytes for those that have a place."""

    @classmethod
    def of(cls, table: SampleTable, rows: Rows, size: int, limit: int | None = None) -> Self:
        """Give a place to the samples of ``rows``, in this order, as many as fit.

        Args:
            table: The sample table.
            rows: Its rows to be kept.
            size: Height and width of the network's input in pixels.
            limit: Bytes that may be taken; None does not bound them.
        """
        factors = _factors(table, size)
        ends = np.cumsum(_sample_bytes(table, factors)[rows])
        fit = len(rows) if limit is None else int(np.searchsorted(ends, limit, side="right"))
        offsets = np.full(len(table), -1, np.int64)
        offsets[rows[:fit]] = np.concatenate([[0], ends[:fit]])[:fit]
        return cls(
            table=table,
            factors=factors,
            offsets=offsets,
            wanted_bytes=int(ends[-1]) if len(ends) else 0,
            bytes=int(ends[fit - 1]) if fit else 0,
        )

    def __len__(self) -> int:
        return int((self.offsets >= 0).sum())

    def serves(self, table: SampleTable, size: int) -> bool:
        """Return whether a cache of this layout is of use at another size, too: all images are downsampled alike."""
        # A table with pseudo-labels shares the other columns.
        return table.sha256 is self.table.sha256 and np.array_equal(self.factors, _factors(table, size))

    def has(self, row: int, factor: int) -> bool:
        """Return whether a row's image has a place, downsampled by this factor."""
        return bool(self.offsets[row] >= 0) and int(self.factors[row]) == factor

    def image(self, row: int) -> tuple[int, tuple[int, int], npt.DTypeLike]:
        """Return the first byte, the shape (rows, columns) and the type of a row's image, which has a place."""
        shape = downsampled_shape(*self.table.shape(row), int(self.factors[row]))
        return int(self.offsets[row]), shape, reduced_type(str(self.table.image_format[row]))

    def run_lengths(self, row: int) -> tuple[int, int]:
        """Return the first byte and the number of bytes of a row's run lengths; the row has a place."""
        first, (height, width), kind = self.image(row)
        return first + height * width * np.dtype(kind).itemsize, int(self.table.rle_bytes[row])


def _factors(table: SampleTable, size: int) -> npt.NDArray[np.int64]:
    shapes, inverse = np.unique(np.stack([table.rows, table.columns]), axis=1, return_inverse=True)
    factors = [downsample_factor(rows, columns, size) for rows, columns in shapes.T.tolist()]
    return np.array(factors, np.int64)[inverse]


def _sample_bytes(table: SampleTable, factors: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bytes of each sample's image and run lengths, aligned."""
    pixels = -(-table.rows.astype(np.int64) // factors) * -(-table.columns.astype(np.int64) // factors)
    widths = {str(name): np.dtype(reduced_type(str(name))).itemsize for name in np.unique(table.image_format)}
    used = table.rle_bytes * table.positive
    for name, width in widths.items():
        used = used + pixels * width * (table.image_format == name)
    return -(-used // ALIGNMENT) * ALIGNMENT
