"""A shard: a WebDataset tar whose bytes depend only on its members, and its index for DALI's own reader.

WebDataset: the members of a sample are consecutive and share the name up to its first dot
(https://github.com/webdataset/webdataset). Index: what DALI's ``wds2idx`` writes, ``v1.2 <samples>`` and then a line
of ``<extension> <offset> <size> <name>`` per member for each sample.
"""

import hashlib
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

MAX_KEY = 90
"""Longest key in characters: with its extension it must fit the 100 bytes that a USTAR header has for a name."""
SAFE_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")
_DASHES = str.maketrans(".", "-")


def keys(image_ids: Sequence[str]) -> list[str]:
    """Return a key for each of the distinct ids of a split: the id with dots as dashes.

    Index tools cut names at the first dot and take ASCII only. An id that is too long, holds other characters, or
    would have the same key as another one gets a cleaned and shortened form followed by a digest of the id.
    """
    plain = [image_id.translate(_DASHES) for image_id in image_ids]
    uses = Counter(plain)
    found = [
        key if uses[key] == 1 and len(key) <= MAX_KEY and SAFE_KEY.fullmatch(key) else _escaped(image_id)
        for key, image_id in zip(plain, image_ids, strict=True)
    ]
    assert len(set(found)) == len(set(image_ids)) == len(found), "ids must be distinct"
    return found


def _escaped(image_id: str) -> str:
    clean = re.sub(r"[^0-9A-Za-z_-]", "-", image_id)[:60].strip("-")
    return f"{clean or 'id'}-{hashlib.sha256(image_id.encode('utf-8', 'surrogateescape')).hexdigest()[:20]}"


def header(name: str, size: int) -> bytes:
    """Return a member's USTAR header; it depends only on name and size: mode 0444, mtime 0, owner 0 without names.

    Args:
        name: At most 100 ASCII characters.
        size: Bytes of data, below 8 GiB.
    """
    assert len(name) <= tarfile.LENGTH_NAME
    # Filling in what differs takes a tenth of the time of TarInfo.tobuf; a check of a dataset needs each member's.
    block = bytearray(_EMPTY_HEADER)
    block[: len(name)] = name.encode("ascii")
    block[_SIZE] = b"%011o" % size
    block[_CHECKSUM] = b"%06o" % (_EMPTY_SUM + sum(name.encode("ascii")) + sum(block[_SIZE]))
    return bytes(block)


def _empty_header() -> bytes:
    """Return the header of a member of 0 bytes without a name."""
    info = tarfile.TarInfo("")
    info.size, info.mode = 0, 0o444
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


_SIZE, _CHECKSUM = slice(124, 135), slice(148, 154)
"""Octal digits of a USTAR header: of the size, and of the sum of its bytes in which those of the sum are spaces."""
_EMPTY_HEADER = _empty_header()
_EMPTY_SUM = int(_EMPTY_HEADER[_CHECKSUM], 8) - sum(_EMPTY_HEADER[_SIZE])


def padded_size(size: int) -> int:
    """Return the number of bytes that a member's data takes: whole blocks."""
    return size + -size % tarfile.BLOCKSIZE


def archive_size(position: int) -> int:
    """Return the size of an archive whose last member ends at ``position``: two empty blocks, then whole records."""
    ended = position + 2 * tarfile.BLOCKSIZE
    return ended + -ended % tarfile.RECORDSIZE


def index_line(key: str, members: Sequence[tuple[str, int, int]]) -> str:
    """Return a sample's line of the index, from each member's extension, offset and size."""
    return " ".join(f"{extension} {offset} {size} {key}.{extension}" for extension, offset, size in members)


def index(lines: Sequence[str]) -> str:
    """Return the text of the .idx file of a shard's samples."""
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"


@dataclass
class TarWriter:
    """Writes members one after another to a binary file and keeps the offsets of their data for the index."""

    file: IO[bytes]
    """An empty file opened for writing."""
    position: int = 0
    """Bytes written so far."""
    _lines: list[str] = field(default_factory=list)

    def add(self, key: str, members: Sequence[tuple[str, bytes]]) -> list[int]:
        """Append the members (extension without dot, data) of one sample and return the offsets of their data."""
        offsets = [self._member(f"{key}.{extension}", data) for extension, data in members]
        self._lines.append(
            index_line(key, [(ext, offset, len(data)) for offset, (ext, data) in zip(offsets, members, strict=True)])
        )
        return offsets

    def close(self) -> None:
        """Write the end of the archive: two empty blocks, then padding to a whole record."""
        self._write(bytes(archive_size(self.position) - self.position))

    def index(self) -> str:
        """Return the text of the .idx file."""
        return index(self._lines)

    def _member(self, name: str, data: bytes) -> int:
        self._write(header(name, len(data)))
        offset = self.position
        self._write(data)
        self._write(bytes(padded_size(len(data)) - len(data)))
        return offset

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.position += len(data)
