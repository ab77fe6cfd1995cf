"""Histograms of out-of-fold predictions: two per image instead of a probability map.

Probabilities are quantized to 256 bins. The number of pixels in each bin inside and outside the true mask, at
the image's own resolution, gives the predicted area, its overlap with the true mask and so the competition's
Dice exactly, at every threshold b/256: 2 KB per image where a float map takes 4 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pneumo.runtime import parquet
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish

BINS = 256
FORMAT_VERSION = 2
"""In the file's metadata."""
MAX_IMAGES = 2_000_000
"""More than any collection of chest X-rays has; as many take 4 GB."""
REFERENCE_PIXELS = 1 << 20
"""Areas are given in pixels of a 1024x1024 image, as in the competition, whatever the image's own size."""

# Named as Parquet names the values of a list, so that the schema read is the schema written.
_COUNTS = pa.list_(pa.field("element", pa.int32()), BINS)
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("fold", pa.int16()),
        ("patient", pa.int32()),
        ("positive", pa.bool_()),
        ("pixels", pa.int64()),
        ("presence_probability", pa.float32()),
        ("inside", _COUNTS),
        ("outside", _COUNTS),
    ],
    metadata={"pneumo.format_version": str(FORMAT_VERSION)},
)


def equivalent_area(count: npt.ArrayLike, pixels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Scale areas to a 1024x1024 image.

    Args:
        count: Pixels counted in each image.
        pixels: All pixels of each image.
    """
    return np.asarray(count, np.float64) * REFERENCE_PIXELS / np.asarray(pixels, np.float64)


@dataclass(frozen=True, eq=False, kw_only=True)
class PredictionHistograms:
    """Histograms of the predictions for n images."""

    image_id: npt.NDArray[np.str_]
    """(n,)"""
    fold: npt.NDArray[np.int16]
    """(n,): the fold whose network, which was not trained on the image, predicted it."""
    patient: npt.NDArray[np.int32]
    """(n,): patient group number; -1 when the patient is unknown."""
    positive: npt.NDArray[np.bool_]
    """(n,): whether the true mask has a pixel."""
    pixels: npt.NDArray[np.int64]
    """(n,): number of pixels of the image."""
    presence_probability: npt.NDArray[np.float32]
    """(n,): the presence head's probability of a pneumothorax; NaN without a presence head."""
    inside: npt.NDArray[np.int32]
    """(n, 256): number of pixels in each bin inside the true mask."""
    outside: npt.NDArray[np.int32]
    """(n, 256): number of pixels in each bin outside it."""

    def __post_init__(self) -> None:
        n = len(self.image_id)
        for name, column in self._columns().items():
            assert column.shape == ((n, BINS) if name in ("inside", "outside") else (n,)), name
        assert np.array_equal(self.positive, self.truth > 0), "positive contradicts the histograms"
        # Not by the cumulative sums, which not everybody needs: they take twice as much memory as the histograms.
        counted = self.truth + self.outside.sum(axis=1, dtype=np.int64)
        assert np.array_equal(self.pixels, counted), "pixels contradict the histograms"
        assert len(set(self.image_id.tolist())) == n, "an image occurs twice"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_id)

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(n, 256): number of pixels in bin b or above, the predicted area at threshold b."""
        return _at_least(np.add(self.inside, self.outside, dtype=np.int64))

    @cached_property
    def overlap(self) -> npt.NDArray[np.int64]:
        """(n, 256): number of pixels of the true mask in bin b or above."""
        return _at_least(self.inside.astype(np.int64))

    @cached_property
    def truth(self) -> npt.NDArray[np.int64]:
        """(n,): number of pixels of the true mask."""
        pixels: npt.NDArray[np.int64] = self.inside.sum(axis=1, dtype=np.int64)
        return pixels

    @cached_property
    def max_bin(self) -> npt.NDArray[np.int64]:
        """(n,): the highest bin that has a pixel: the quantized maximum probability."""
        bins: npt.NDArray[np.int64] = np.count_nonzero(self.predicted, axis=1) - 1
        return bins

    def select(self, index: npt.NDArray[Any]) -> "PredictionHistograms":
        """Return the images at integer indices, or where a boolean array (n,) is true."""
        return PredictionHistograms(**{name: column[index] for name, column in self._columns().items()})

    def write(self, path: Path) -> None:
        """Publish as one Parquet file; equal histograms give equal bytes."""
        arrays = [
            pa.FixedSizeListArray.from_arrays(column.ravel(), type=_COUNTS)
            if column.ndim == 2
            else pa.array(column.tolist() if column.dtype.kind in "OU" else column)
            for column in self._columns().values()
        ]
        with publish(path) as file:
            pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), file, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` published.

        Raises:
            UserError: When the file is missing, damaged, of another format version or no file of histograms.
        """
        expected, action = f"prediction histograms of format version {FORMAT_VERSION}", "train the run again"
        table = parquet.read_table(path, _SCHEMA, max_rows=MAX_IMAGES, expected=expected, action=action)
        try:
            columns: dict[str, npt.NDArray[Any]] = {
                name: _counts(table[name]) if table.schema.field(name).type == _COUNTS else table[name].to_numpy()
                for name in _SCHEMA.names
            }
            return cls(**columns | {"image_id": columns["image_id"].astype(np.str_)})
        except (AssertionError, TypeError, ValueError, MemoryError) as error:
            raise UserError(f"{path} contradicts itself ({error})", expected, action) from error

    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in _SCHEMA.names}


def concatenate(parts: Sequence[PredictionHistograms]) -> PredictionHistograms:
    """Join the histograms of different images, for example of the folds."""
    columns = [part._columns() for part in parts]
    return PredictionHistograms(**{name: np.concatenate([column[name] for column in columns]) for name in columns[0]})


def dice(histograms: PredictionHistograms, b: int | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each image's Dice (n,) when its mask is every pixel of bin ``b`` or above; empty on empty is 1.

    Args:
        histograms: Predictions for n images.
        b: One bin, or (n,) that of each image.
    """
    size = _from_bin(histograms.predicted, b) + histograms.truth
    return np.where(size > 0, 2 * _from_bin(histograms.overlap, b) / np.maximum(size, 1), 1.0)


def area(histograms: PredictionHistograms, b: int | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each image's area (n,) of bin ``b`` and above, in pixels of a 1024x1024 image; ``b`` as in ``dice``."""
    return equivalent_area(_from_bin(histograms.predicted, b), histograms.pixels)


def _from_bin(sums: npt.NDArray[np.int64], b: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    column: npt.NDArray[np.int64] = sums[:, b] if isinstance(b, int) else sums[np.arange(len(sums)), b]
    return column


def _at_least(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Replace each count by the sum of those from its bin on."""
    backwards = counts[:, ::-1]
    np.cumsum(backwards, axis=1, out=backwards)
    return counts


def _counts(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    values: npt.NDArray[np.int32] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, BINS)
