"""Columns of the sample table: as Arrow reads and writes them, as numpy arrays, and their digest."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Strings = np.ndarray[tuple[Any, ...], np.dtypes.StringDType | np.dtype[np.str_]]
"""Strings of any length, UTF-8: a column takes its text and 16 bytes a row, however long its longest string is. Columns
of short ones, such as the split, are numpy's strings of a fixed length: they are not for writing longer ones into."""

DIGEST_BYTES = 64
Digests = npt.NDArray[np.bytes_]
"""SHA-256 digests, hexadecimal, of 64 bytes each; empty where there is nothing to digest."""

_SHORT_BYTES = 8
"""Longest string of a column that is made of its different values, such as ``PA`` and ``AP``: that is several times as
fast, and takes at most twice the memory."""
_PIECE = 100_000
"""Strings that are converted at once, so that a column's are never all in memory twice."""


class SamplesDigest:
    """SHA-256 of columns, which depends only on their values: strings between line feeds, numbers little-endian."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, name: str, column: pa.ChunkedArray) -> None:
        """Add the next column; the folds are left out, whose digest dataset.json has separately."""
        if name == "fold":
            return
        pieces: Iterator[bytes | pa.Buffer]
        if pa.types.is_string(column.type):
            length = (pc.sum(pc.binary_length(column)).as_py() or 0) + max(len(column) - 1, 0)
            pieces = join(column, "\n")
        else:
            values = column.to_numpy()
            content = values.astype(values.dtype.newbyteorder("<")).tobytes()
            length, pieces = len(content), iter([content])
        self._sha256.update(f"{name} {length}\n".encode())
        for piece in pieces:
            self._sha256.update(piece)

    def hexdigest(self) -> str:
        """Return the digest of the columns so far."""
        return self._sha256.hexdigest()


def join(column: pa.ChunkedArray, separator: str) -> Iterator[pa.Buffer]:
    """Yield all strings of a column, UTF-8, with a separator between each two, in pieces of many."""
    for first in range(0, len(column), _PIECE):
        values = column.slice(first, _PIECE).combine_chunks()
        whole = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
        if first:
            yield pa.py_buffer(separator.encode())
        yield pc.binary_join(whole, separator)[0].as_buffer()


def to_numpy(column: pa.ChunkedArray, *, are_digests: bool = False) -> npt.NDArray[Any]:
    """Return the values of a column: numbers as they are, else ``Digests`` or ``Strings``."""
    if not pa.types.is_string(column.type):
        return np.array(column.to_numpy())
    least, greatest = lengths(column)
    if are_digests and least == greatest == DIGEST_BYTES:
        text, end = np.empty(len(column) * DIGEST_BYTES, np.uint8), 0
        for piece in join(column, ""):
            first, end = end, end + len(piece)
            text[first:end] = np.frombuffer(piece, np.uint8)
        return text.view(f"S{DIGEST_BYTES}")
    if not are_digests and greatest <= _SHORT_BYTES and len(column):
        codes = column.combine_chunks().dictionary_encode(null_encoding="encode")
        indices: npt.NDArray[np.int32] = codes.indices.to_numpy()
        different = np.array(codes.dictionary.to_pylist(), np.str_)
        return different[indices]
    kind = np.dtype(f"S{DIGEST_BYTES}") if are_digests else np.dtypes.StringDType()
    values: npt.NDArray[Any] = np.empty(len(column), kind)
    for first in range(0, len(column), _PIECE):
        piece = column.slice(first, _PIECE).combine_chunks()
        values[first : first + _PIECE] = _padded(piece) if _can_be_padded(piece) else piece.to_pylist()
    return values


def _can_be_padded(strings: pa.StringArray) -> bool:
    """Return whether numpy's strings of a fixed length, padded with zeros, say the same, and take little memory."""
    bytes_of_all = pc.sum(pc.binary_length(strings)).as_py()
    is_even = 0 < pc.max(pc.binary_length(strings)).as_py() * len(strings) <= 2 * bytes_of_all
    plain = pc.all(pc.string_is_ascii(strings)).as_py() and not pc.any(pc.match_substring(strings, "\0")).as_py()
    return bool(is_even and plain)


def _padded(strings: pa.StringArray) -> npt.NDArray[np.bytes_]:
    """Return ASCII strings, all of the length of the longest: two times as fast as by Python's strings."""
    length = pc.max(pc.binary_length(strings)).as_py()
    padded = pc.ascii_rpad(strings, width=length, padding="\0")
    return np.frombuffer(b"".join(join(pa.chunked_array([padded]), "")), f"S{length}")


def lengths(column: pa.ChunkedArray) -> tuple[int, int]:
    """Return the least and the greatest bytes of a string of a column; 0 and 0 without any."""
    found = pc.min_max(pc.binary_length(column)).as_py()
    return found["min"] or 0, found["max"] or 0


def to_arrow(column: npt.NDArray[Any], kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column as Arrow writes it."""
    if column.dtype.kind == "S":
        return pa.chunked_array([pa.array(column.tolist(), pa.binary()).cast(kind)])
    return pa.chunked_array([pa.array(column.tolist() if pa.types.is_string(kind) else column, kind)])
