"""RUN/fold-K/pseudo-labels.parquet: confident labels of unlabeled images, and what they were made of."""

import math
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pneumo.dataset.table import Rows, SampleTable
from pneumo.masks import rle
from pneumo.runtime import parquet
from pneumo.runtime.errors import UserError, list_some
from pneumo.runtime.files import publish

FORMAT_VERSION = 1
MAX_IMAGES = 2_000_000
_REPAIR = "restore the file, or delete the fold's directory: the same command makes it again"


class PseudoLabelFile:
    """The pseudo-labels of one fold on disk.

    Args:
        path: The file.
        made_of: What decides the labels, such as the teacher, by name: a file that was made of something else is none.
    """

    def __init__(self, path: Path, made_of: Mapping[str, str]) -> None:
        metadata = {"pneumo.format_version": str(FORMAT_VERSION), **made_of}
        self._path = path
        self._schema = pa.schema([("image_id", pa.string()), ("mask", pa.string())], metadata=metadata)

    def is_there(self) -> bool:
        """Return whether the file is there and was made of the same; its rows may still be damaged."""
        try:
            return self._path.is_file() and pq.read_schema(self._path).equals(self._schema, check_metadata=True)
        except (OSError, pa.ArrowException):
            return False

    def write(self, table: SampleTable, labels: Mapping[int, str]) -> None:
        """Write the labels.

        Args:
            table: The dataset's table.
            labels: Run lengths by row of it.
        """
        rows = sorted(labels)
        columns = {"image_id": [str(table.image_id[row]) for row in rows], "mask": [labels[row] for row in rows]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with publish(self._path) as file:
            pq.write_table(pa.table(columns, schema=self._schema), file, compression="zstd")

    def read(self, table: SampleTable, rows: Rows) -> dict[int, str]:
        """Return the run lengths by row of the table.

        Args:
            table: The dataset's table.
            rows: The unlabeled rows that the fold may use.

        Raises:
            UserError: When it is missing, damaged, made of something else, or has an image that the fold must not use.
        """
        expected = "the pseudo-labels that this fold began with"
        read = parquet.read_table(self._path, self._schema, max_rows=MAX_IMAGES, expected=expected, action=_REPAIR)
        row_of = {str(table.image_id[row]): row for row in rows.tolist()}
        found = dict(zip(read["image_id"].to_pylist(), read["mask"].to_pylist(), strict=True))
        if leaked := sorted(found.keys() - row_of.keys()):
            raise UserError(
                f"{self._path} has images that this fold must not learn from: {list_some(leaked)}",
                "unlabeled images, none of them a copy or of a patient whom the fold validates on",
                _REPAIR,
            )
        labels = {row_of[image_id]: mask for image_id, mask in found.items()}
        try:
            for row, mask in labels.items():
                rle.parse(mask, math.prod(table.shape(row)))
        except rle.RleError as error:
            raise UserError(f"{self._path}: the mask of {table.image_id[row]} has {error}", expected, _REPAIR) from None
        return dict(sorted(labels.items()))
