"""Parquet files of a known schema."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pneumo.runtime import parquet
from pneumo.runtime.errors import UserError

SCHEMA = pa.schema([("name", pa.string()), ("count", pa.int32())], metadata={"format": "3"})


def table(names: list[str | None], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.table({"name": names, "count": list(range(len(names)))}, schema=schema)


def read(path: Path, **bounds: int) -> pa.Table:
    return parquet.read_table(path, SCHEMA, expected="a list", action="write it again", **({"max_rows": 3} | bounds))


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    pq.write_table(table(["a", "b", "c"]), tmp_path / "t")
    assert read(tmp_path / "t", min_rows=3).equals(table(["a", "b", "c"]), check_metadata=True)


def test_reading_and_writing_start_no_threads(tmp_path: Path) -> None:
    """Threads of Arrow's that outlive Python's end abort the process with "terminate called", once in some 250."""
    program = """
import os, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pneumo.runtime.parquet import read_table
before = len(os.listdir("/proc/self/task"))
table = pa.table({f"column {i}": np.arange(1000, dtype=np.int32) for i in range(30)})
pq.write_table(table, sys.argv[1], compression="zstd")
assert read_table(Path(sys.argv[1]), table.schema, max_rows=1000, expected="", action="").equals(table)
print(len(os.listdir("/proc/self/task")) - before)
"""
    found = subprocess.run([sys.executable, "-c", program, tmp_path / "t"], check=True, capture_output=True, text=True)
    assert found.stdout == "0\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (table(list("abcd")), "4 rows, format 3, columns name count"),
        (table(["a"]), "1 rows, format 3, columns name count"),
        (table(["a", "b"], SCHEMA.with_metadata({"format": "2"})), "2 rows, format 2, columns name count"),
        (table(["a", "b"], SCHEMA.remove_metadata()), "2 rows, columns name count"),
        (table(["a", "b"]).select(["count", "name"]), "2 rows, format 3, columns count name"),
        (table(["a", "b"]).drop_columns("count"), "2 rows, format 3, columns name"),
        (table(["a", None]), "null values in name"),
    ],
    ids=["more rows", "fewer rows", "version", "no version", "order", "missing column", "null"],
)
def test_another_table_is_refused_with_what_was_found(tmp_path: Path, content: pa.Table, found: str) -> None:
    pq.write_table(content, tmp_path / "t")
    with pytest.raises(UserError) as caught:
        read(tmp_path / "t", min_rows=2)
    assert caught.value.found == f"{tmp_path / 't'}: {found}"
    assert caught.value.expected.startswith("a list")
    assert caught.value.action == "write it again"


@pytest.mark.parametrize("content", [None, b"", b"PAR1 torn"], ids=["missing", "empty", "torn"])
def test_what_cannot_be_read_is_an_error_of_the_user(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "t").write_bytes(content)
    with pytest.raises(UserError, match=r"t cannot be read: .*; expected a list; write it again"):
        read(tmp_path / "t")


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "t").open("wb") as file:
        file.truncate(parquet.MAX_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read"))
    with pytest.raises(UserError, match=r"t has more than 8589934592 bytes; expected a list; write it again"):
        read(tmp_path / "t")


def test_columns_of_an_unexpected_table_are_not_read(tmp_path: Path) -> None:
    """A small file may declare, and unpack to, any number of rows."""
    pq.write_table(pa.table({"name": ["x"] * 5_000_000}), tmp_path / "t", compression="zstd")
    before = pa.total_allocated_bytes()
    with pytest.raises(UserError, match="5000000 rows, columns name"):
        read(tmp_path / "t")
    assert pa.total_allocated_bytes() - before < 1 << 20
