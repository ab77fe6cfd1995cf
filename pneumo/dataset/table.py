"""samples.parquet: one row per image. Planning (folds, samplers, reports) reads this table and never opens a shard."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pneumo.dataset import folds as fold_assignment
from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.paths import Split
from pneumo.dataset.table_columns import Digests, SamplesDigest, Strings, lengths, to_arrow, to_numpy
from pneumo.runtime import parquet
from pneumo.runtime.errors import UserError, first_line
from pneumo.runtime.files import publish
from pneumo.runtime.ranges import MAX_FOLDS

Rows = npt.NDArray[np.int64]
"""Row numbers of a ``SampleTable``."""

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in [
            ("image_id", pa.string()),
            ("wds_key", pa.string()),
            ("split", pa.string()),
            ("fold", pa.int8()),
            ("patient", pa.int32()),
            ("rows", pa.int32()),
            ("columns", pa.int32()),
            ("row_spacing_mm", pa.float64()),
            ("column_spacing_mm", pa.float64()),
            ("modality", pa.string()),
            ("body_part", pa.string()),
            ("view", pa.string()),
            ("presentation_intent", pa.string()),
            ("sex", pa.string()),
            ("age_years", pa.int16()),
            ("transfer_syntax", pa.string()),
            ("was_monochrome1", pa.bool_()),
            ("positive", pa.bool_()),
            ("mask_area", pa.int64()),
            ("shard", pa.string()),
            ("image_format", pa.string()),
            ("offset", pa.int64()),
            ("bytes", pa.int64()),
            ("rle_offset", pa.int64()),
            ("rle_bytes", pa.int64()),
            ("json_bytes", pa.int64()),
            ("sha256", pa.string()),
            ("rle_sha256", pa.string()),
            ("json_sha256", pa.string()),
            ("render_notes", pa.string()),
            ("low_level", pa.float64()),
            ("high_level", pa.float64()),
            ("mask_note", pa.string()),
        ]
    ],
    metadata={"pneumo.format_version": str(paths.FORMAT_VERSION)},
)
"""Columns of samples.parquet in their order; none is null, SampleTable lists the values that mean unknown."""

DIGESTS = frozenset(("sha256", "rle_sha256", "json_sha256"))
"""Columns of ``Digests``."""
MAX_ROWS = 10_000_000
MAX_STRING_BYTES = 4096
"""Bytes of a string, such as an id or a note."""
_RANGES = {
    "rows": (1, 1 << 16),
    "columns": (1, 1 << 16),
    "fold": (-1, MAX_FOLDS - 1),
    "offset": (0, 1 << 48),
    "bytes": (1, 1 << 32),
    "rle_offset": (-1, 1 << 48),
    "rle_bytes": (0, 1 << 32),
}
"""Minimum and maximum of columns that readers index and allocate by."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleTable:
    """The table as numpy arrays, one of length n per column, in the order of the shards: that of ``paths.SPLITS``."""

    image_id: Strings
    """SOPInstanceUID, or the name of a PNG or JPEG file: the id of the masks CSV and of the submission; unique within a
    split."""
    wds_key: Strings
    """Name of the sample's members in the shard, without extension: the id with dots as dashes."""
    split: Strings
    """``train`` (labeled), ``test`` (to predict) or ``unlabeled`` (see ``pneumo.dataset.unlabeled``)."""
    fold: npt.NDArray[np.int8]
    """Fold that validates on a training image; -1 in the other splits."""
    patient: npt.NDArray[np.int32]
    """Number of the patient group; -1 when the patient is unknown."""
    rows: npt.NDArray[np.int32]
    """Height in pixels."""
    columns: npt.NDArray[np.int32]
    """Width in pixels."""
    row_spacing_mm: npt.NDArray[np.float64]
    """Distance of pixel rows in millimeters; NaN when unknown."""
    column_spacing_mm: npt.NDArray[np.float64]
    """Distance of pixel columns in millimeters; NaN when unknown."""
    modality: Strings
    """``CR``, ``DX``, ...; empty when unknown."""
    body_part: Strings
    """``CHEST`` or another body part; empty when unknown."""
    view: Strings
    """``PA``, ``AP``, ...; empty when unknown."""
    presentation_intent: Strings
    """``FOR PRESENTATION`` or ``FOR PROCESSING``; empty when unknown."""
    sex: Strings
    """``M``, ``F`` or ``O``; empty when unknown."""
    age_years: npt.NDArray[np.int16]
    """Age in years; -1 when unknown."""
    transfer_syntax: Strings
    """UID of the source file's transfer syntax; empty for a PNG or JPEG file."""
    was_monochrome1: npt.NDArray[np.bool_]
    """The source's lowest value was white (MONOCHROME1, or a Presentation LUT Shape of INVERSE); the image member is
    already inverted."""
    positive: npt.NDArray[np.bool_]
    """The mask is not empty; False in the other splits than train."""
    mask_area: npt.NDArray[np.int64]
    """Pixels of the mask; -1 without one."""
    shard: Strings
    """File name of the tar in the shards directory."""
    image_format: Strings
    """``jpg`` (8-bit, the source's own bitstream) or ``png`` (16-bit; 8-bit when the source was such a PNG)."""
    offset: npt.NDArray[np.int64]
    """First byte of the image member's data in the tar."""
    bytes: npt.NDArray[np.int64]
    """Byte count of the image member."""
    rle_offset: npt.NDArray[np.int64]
    """First byte of the mask member's data in the tar; -1 without one."""
    rle_bytes: npt.NDArray[np.int64]
    """Byte count of the mask member; 0 without one."""
    json_bytes: npt.NDArray[np.int64]
    """Byte count of the description, the sample's last member."""
    sha256: Digests
    """SHA-256 of the image member's bytes, hexadecimal."""
    rle_sha256: Digests
    """SHA-256 of the mask member's bytes; empty without one."""
    json_sha256: Digests
    """SHA-256 of the description's bytes."""
    render_notes: Strings
    """What rendering did to the image, joined by semicolons; empty for most images."""
    low_level: npt.NDArray[np.float64]
    """5th percentile of the image's levels, 0 black to 1 white."""
    high_level: npt.NDArray[np.float64]
    """95th percentile of the image's levels."""
    mask_note: Strings
    """Why the mask is probably not of an image of this size; empty for most masks."""

    def __post_init__(self) -> None:
        assert [field.name for field in fields(self)] == SCHEMA.names
        assert len({len(getattr(self, name)) for name in SCHEMA.names}) == 1, "columns differ in length"

    def __len__(self) -> int:
        return len(self.image_id)

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Make a table of rows that each hold every column."""
        return cls.from_arrow(pa.Table.from_pylist(list(rows), schema=SCHEMA))

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Self:
        """Make a table of an arrow table of the same schema."""
        return cls(**{name: to_numpy(table.column(name), are_digests=name in DIGESTS) for name in SCHEMA.names})

    @classmethod
    def read(cls, dataset: Path, *, manifest: Manifest | None = None, other_folds: bool = False) -> Self:
        """Read the table of a finished dataset.

        Args:
            dataset: The dataset's directory.
            manifest: Content of a dataset.json that is not written yet; None reads it.
            other_folds: Accept a table whose folds differ from those of dataset.json, as after a process was
                killed between writing the two.

        Raises:
            UserError: When the dataset is missing, unfinished, damaged, of another format version, or its table is
                not the one that dataset.json was written for.
        """
        manifest = manifest or Manifest.read(dataset)
        path = paths.samples(dataset)
        table, digest, folds_digest = cls._read(path, manifest)
        if digest != manifest.samples_digest:
            raise UserError(
                f"{path}: not what was written (its values' SHA-256 differs from {paths.MANIFEST}'s)",
                f"the table that belongs to {paths.MANIFEST}",
                "the table is damaged or another dataset's; copy the dataset or build it again",
            )
        if not other_folds and folds_digest != manifest.folds_digest:
            raise UserError(
                f"{path}: other folds than those of {paths.MANIFEST}",
                "the same folds in both; a change of folds may have been interrupted",
                "start the same job/shard.py command again",
            )
        return table

    @classmethod
    def _read(cls, path: Path, manifest: Manifest) -> tuple[Self, str, str]:
        """Return the table, its digest and that of its folds, with four of Arrow's columns in memory at most."""
        read = parquet.read_columns(
            path,
            SCHEMA,
            min_rows=manifest.samples,
            max_rows=min(manifest.samples, MAX_ROWS),
            expected=f"the table of {manifest.samples} rows that belongs to {paths.MANIFEST}",
            action="copy the dataset or build it again",
        )
        columns: dict[str, Any] = {}
        image_id, digest, folds_digest = None, SamplesDigest(), ""
        # A column is converted while the one before is hashed, and the one after read.
        with ThreadPoolExecutor(1, thread_name_prefix="digest") as thread:
            hashed: Future[None] | None = None
            for name, column in _prefetch(read):
                try:
                    problem = _find_problem(name, column)
                    if not problem:
                        columns[name] = to_numpy(column, are_digests=name in DIGESTS)
                        if hashed is not None:
                            hashed.result()
                        hashed = thread.submit(digest.add, name, column)
                except ValueError as error:
                    # A string that is not UTF-8.
                    problem = first_line(error)
                if problem:
                    raise UserError(f"{path}: {problem}", "what job/shard.py writes", "build the dataset again")
                if name == "image_id":
                    image_id = column
                elif name == "fold":
                    folds_digest, image_id = fold_assignment.digest(image_id, columns[name]), None
            if hashed is not None:
                hashed.result()
        return cls(**columns), digest.hexdigest(), folds_digest

    def digest(self) -> str:
        """Return the SHA-256 of every column but the folds, whose digest dataset.json has separately."""
        found = SamplesDigest()
        for name, column in self._columns().items():
            found.add(name, column)
        return found.hexdigest()

    def exclude(self, image_ids: Collection[str]) -> "SampleTable":
        """Return the table without some training or unlabeled images; test images are kept, whatever their ids."""
        keep = ~(np.isin(self.image_id, list(image_ids)) & (self.split != "test"))
        return self.take(np.flatnonzero(keep))

    def take(self, rows: Rows) -> "SampleTable":
        """Return a table of some of the rows, in their order."""
        return SampleTable(**{name: getattr(self, name)[rows] for name in SCHEMA.names})

    def write(self, dataset: Path) -> None:
        """Publish the table as samples.parquet."""
        with publish(paths.samples(dataset)) as file:
            pq.write_table(pa.table(self._columns(), schema=SCHEMA), file, compression="zstd")

    def _columns(self) -> dict[str, pa.ChunkedArray]:
        return {name: self.column(name) for name in SCHEMA.names}

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column as Arrow has it."""
        return to_arrow(getattr(self, name), SCHEMA.field(name).type)

    def select(self, split: Split, folds: Collection[int] | None = None) -> Rows:
        """Return the ascending indices of the rows of a split, and of some folds if given."""
        chosen = self.split == split
        if folds is not None:
            chosen &= np.isin(self.fold, list(folds))
        return np.flatnonzero(chosen).astype(np.int64, copy=False)

    def shape(self, row: int) -> tuple[int, int]:
        """Return (rows, columns) of an image in pixels."""
        return int(self.rows[row]), int(self.columns[row])

    def shapes(self, rows: Rows) -> dict[str, tuple[int, int]]:
        """Return (rows, columns) in pixels by image id, for images of one split."""
        return {str(self.image_id[row]): self.shape(row) for row in rows.tolist()}


def _prefetch(columns: Iterator[tuple[str, pa.ChunkedArray]]) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield the same, while the next one is read in a thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="columns") as thread:
        following = thread.submit(next, columns, None)
        while (read := following.result()) is not None:
            following = thread.submit(next, columns, None)
            yield read


def _find_problem(name: str, column: pa.ChunkedArray) -> str:
    """Return what would make a reader read elsewhere or allocate far too much; empty for a table of job/shard.py."""
    if pa.types.is_string(column.type) and lengths(column)[1] > MAX_STRING_BYTES:
        return f"{name} of more than {MAX_STRING_BYTES} bytes"
    if name == "shard":
        for shard in pc.unique(column).to_pylist():
            if not paths.SHARD_NAME.fullmatch(shard):
                return f"a shard named {shard[:80]!r}"
    if name in _RANGES and len(column):
        low, high = _RANGES[name]
        found = pc.min_max(column).as_py()
        if not low <= found["min"] <= found["max"] <= high:
            return f"{name} from {found['min']} to {found['max']}"
    return ""
