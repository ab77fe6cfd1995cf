"""Histograms of out-of-fold predictions: two per image instead of a probability map.

Probabilities are quantized to 256 bins. The number of pixels in each bin inside and outside the true mask, at
the image's own resolution, gives the predicted area, its overlap with the true mask and so the competition's
Dice exactly, at every threshold b/256: 2 KB per image where a float map takes 4 MB.

Where small components of masks are removed, two more histograms are of the opened map (``components``), whose masks are
those without them: they give area and overlap of a mask, while what decides about an image stays that of the map as it
is, since the components are removed from a mask that was decided upon.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
REMOVAL_FORMAT_VERSION = 3
"""Of a file that has the opened maps' histograms too."""
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
_KEPT = ("kept_inside", "kept_outside")
_MIN_COMPONENT = b"pneumo.min_component"


def _schema(min_component: float) -> pa.Schema:
    """Return the schema of histograms with components smaller than this removed; 0 = none."""
    if not min_component:
        return _SCHEMA
    metadata = {"pneumo.format_version": str(REMOVAL_FORMAT_VERSION), _MIN_COMPONENT: repr(float(min_component))}
    return pa.schema([*_SCHEMA, *((name, _COUNTS) for name in _KEPT)], metadata=metadata)


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
    min_component: float = 0.0
    """Components smaller than this are removed from the masks, in pixels of a 1024x1024 image; 0 = none."""
    kept_inside: npt.NDArray[np.int32] | None = None
    """(n, 256): as ``inside``, of the opened map; None where no components are removed."""
    kept_outside: npt.NDArray[np.int32] | None = None
    """(n, 256): as ``outside``, likewise."""

    def __post_init__(self) -> None:
        n = len(self.image_id)
        assert (self.min_component > 0) == (self.kept_inside is not None) == (self.kept_outside is not None)
        for name, column in self._columns().items():
            assert column.shape == ((n, BINS) if name in ("inside", "outside", *_KEPT) else (n,)), name
        assert np.array_equal(self.positive, self.truth > 0), "positive contradicts the histograms"
        # Not by the cumulative sums, which not everybody needs: they take twice as much memory as the histograms.
        counted = self.truth + self.outside.sum(axis=1, dtype=np.int64)
        assert np.array_equal(self.pixels, counted), "pixels contradict the histograms"
        for kept, counts in ((self.kept_inside, self.inside), (self.kept_outside, self.outside)):
            assert kept is None or _is_removal(kept, counts), "small components contradict the histograms"
        assert len(set(self.image_id.tolist())) == n, "an image occurs twice"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_id)

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(n, 256): number of pixels in bin b or above, small components among them."""
        return at_least(np.add(self.inside, self.outside, dtype=np.int64))

    @cached_property
    def masked(self) -> npt.NDArray[np.int64]:
        """(n, 256): number of pixels of the mask at threshold b, without its small components."""
        if self.kept_inside is None or self.kept_outside is None:
            return self.predicted
        return at_least(np.add(self.kept_inside, self.kept_outside, dtype=np.int64))

    @cached_property
    def overlap(self) -> npt.NDArray[np.int64]:
        """(n, 256): number of pixels of the true mask in the mask at threshold b, without its small components."""
        return at_least((self.inside if self.kept_inside is None else self.kept_inside).astype(np.int64))

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
        columns = {name: column[index] for name, column in self._columns().items()}
        return PredictionHistograms(**columns, min_component=self.min_component)

    def without_removal(self) -> "PredictionHistograms":
        """Return the histograms for masks that keep their small components."""
        return replace(self, min_component=0.0, kept_inside=None, kept_outside=None)

    def write(self, path: Path) -> None:
        """Publish as one Parquet file; equal histograms give equal bytes."""
        arrays = [
            pa.FixedSizeListArray.from_arrays(column.ravel(), type=_COUNTS)
            if column.ndim == 2
            else pa.array(column.tolist() if column.dtype.kind in "OU" else column)
            for column in self._columns().values()
        ]
        with publish(path) as file:
            table = pa.Table.from_arrays(arrays, schema=_schema(self.min_component))
            pq.write_table(table, file, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` published.

        Raises:
            UserError: When the file is missing, damaged, of another format version or no file of histograms.
        """
        min_component = _read_min_component(path)
        version = REMOVAL_FORMAT_VERSION if min_component else FORMAT_VERSION
        expected, action = f"prediction histograms of format version {version}", "train the run again"
        schema = _schema(min_component)
        table = parquet.read_table(path, schema, max_rows=MAX_IMAGES, expected=expected, action=action)
        try:
            columns: dict[str, npt.NDArray[Any]] = {
                name: _counts(table[name]) if table.schema.field(name).type == _COUNTS else table[name].to_numpy()
                for name in schema.names
            }
            return cls(**columns | {"image_id": columns["image_id"].astype(np.str_)}, min_component=min_component)
        except (AssertionError, TypeError, ValueError, MemoryError) as error:
            raise UserError(f"{path} contradicts itself ({error})", expected, action) from error

    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in _schema(self.min_component).names}


def concatenate(parts: Sequence[PredictionHistograms]) -> PredictionHistograms:
    """Join the histograms of different images, for example of the folds.

    Where a version before this one counted some of them, without removing small components, none are removed in any.
    """
    if len({part.min_component for part in parts}) > 1:
        parts = [part.without_removal() for part in parts]
    columns = [part._columns() for part in parts]
    joined = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    return PredictionHistograms(**joined, min_component=parts[0].min_component)


def dice(histograms: PredictionHistograms, b: int | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each image's Dice (n,) when its mask is every pixel of bin ``b`` or above; empty on empty is 1.

    It is that of the mask without its small components.

    Args:
        histograms: Predictions for n images.
        b: One bin, or (n,) that of each image.
    """
    size = _from_bin(histograms.masked, b) + histograms.truth
    return np.where(size > 0, 2 * _from_bin(histograms.overlap, b) / np.maximum(size, 1), 1.0)


def area(histograms: PredictionHistograms, b: int | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each image's area (n,) of bin ``b`` and above, in pixels of a 1024x1024 image; ``b`` as in ``dice``."""
    return equivalent_area(_from_bin(histograms.predicted, b), histograms.pixels)


def mask_area(histograms: PredictionHistograms, b: int | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the area (n,) of each image's mask of bin ``b`` and above, without its small components; as ``area``."""
    return equivalent_area(_from_bin(histograms.masked, b), histograms.pixels)


def _from_bin(sums: npt.NDArray[np.int64], b: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    column: npt.NDArray[np.int64] = sums[:, b] if isinstance(b, int) else sums[np.arange(len(sums)), b]
    return column


def at_least(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Replace the count (n, 256) of each bin by the sum of those from it on, in place."""
    backwards = counts[:, ::-1]
    np.cumsum(backwards, axis=1, out=backwards)
    return counts


def _is_removal(kept: npt.NDArray[np.int32], counts: npt.NDArray[np.int32]) -> bool:
    """Return whether the opened map has as many pixels, of which none is in a higher bin than before."""
    missing = at_least(np.subtract(counts, kept, dtype=np.int64))
    return not missing[:, 0].any() and bool((missing >= 0).all())


def _read_min_component(path: Path) -> float:
    """Return what a file says was removed; 0 also when it cannot be read, or has no number for it."""
    try:
        found = float((pq.read_schema(path).metadata or {}).get(_MIN_COMPONENT, 0.0)) if path.is_file() else 0.0
    except (OSError, MemoryError, ValueError, pa.ArrowException):
        return 0.0
    return found if 0 < found <= REFERENCE_PIXELS else 0.0


def _counts(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    values: npt.NDArray[np.int32] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, BINS)
