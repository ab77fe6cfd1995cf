"""Read Parquet files that somebody else may have written: schema and number of rows are checked before any column."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pneumo.runtime.errors import UserError, first_line

MAX_BYTES = 8 << 30
"""Above the histograms of two million images, 2 kB each, and the table of ten million samples."""


def read_table(
    path: Path, schema: pa.Schema, *, max_rows: int, min_rows: int = 0, expected: str, action: str
) -> pa.Table:
    """Read a table of a known schema without null values; arguments and errors are those of ``read_columns``."""
    columns = read_columns(path, schema, max_rows=max_rows, min_rows=min_rows, expected=expected, action=action)
    return pa.table(dict(columns), schema=schema)


def read_columns(
    path: Path, schema: pa.Schema, *, max_rows: int, min_rows: int = 0, expected: str, action: str
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield the columns of a table of a known schema, one after another, so that memory holds one at a time.

    Args:
        path: The Parquet file.
        schema: Its columns and metadata, a format version among them.
        max_rows: Largest number of rows; a small file may declare, and unpack to, any number.
        min_rows: Smallest number of rows.
        expected: What the file should be, for messages.
        action: What to do when it is not, for messages.

    Yields:
        The name and the values of each column, in the order of the schema.

    Raises:
        UserError: When it cannot be read, is not a regular file, has more than ``MAX_BYTES``, has another schema or
            number of rows, or null values.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file", expected, action)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES} bytes", expected, action)
        # In this thread alone: Arrow's own may still hold the file when Python ends, and then abort the process.
        with path.open("rb") as source, pq.ParquetFile(source, pre_buffer=False) as file:
            rows, found = file.metadata.num_rows, file.schema_arrow
            if not (found.equals(schema, check_metadata=True) and min_rows <= rows <= max_rows):
                raise UserError(f"{path}: {rows} rows, {_describe(found)}", f"{expected}: {_describe(schema)}", action)
            for name in schema.names:
                column = file.read(columns=[name], use_threads=False).column(0)
                if column.null_count:
                    raise UserError(f"{path}: null values in {name}", expected, action)
                yield name, column
    except (OSError, MemoryError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}", expected, action) from None


def _describe(schema: pa.Schema) -> str:
    metadata = [
        f"{key.decode(errors='replace')} {value.decode(errors='replace')}"
        for key, value in (schema.metadata or {}).items()
    ]
    return ", ".join([*metadata, f"columns {' '.join(schema.names)}"])
