"""Check a finished dataset: every bit of its shards and their indices, against the table.

What a build writes depends on the samples alone (see ``tar``), and the table knows the name, the place, the size and
the SHA-256 of each member. So there is one right value for every header, member, padding, index line and archive's
end, and whatever differs from it is a fault of one sample, or of the shard where it belongs to none. The table itself
is held against dataset.json when it is read. Files that the table does not name are nobody's business.
"""

import errno
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from itertools import zip_longest
from pathlib import Path
from tarfile import BLOCKSIZE

import numpy as np

from pneumo.dataset import paths, tar
from pneumo.dataset.table import SampleTable
from pneumo.runtime.console import Progress
from pneumo.runtime.errors import ExitCode

WHOLE = -1
"""Stands for a row in faults that belong to a shard as a whole."""

Found = Iterator[tuple[int, str]]
"""Rows of the table (or ``WHOLE``), each with what is wrong there."""


@dataclass(frozen=True)
class Issue:
    """One thing that is not what was written."""

    file: str
    """Name of the tar or index in the shards directory."""
    row: int
    """Row of the sample in the table, or ``WHOLE``."""
    found: str
    """What is wrong."""


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member's data lies when all is well, and what it is."""

    name: str
    extension: str
    offset: int
    size: int
    sha256: str

    @property
    def end(self) -> int:
        return self.offset + tar.padded(self.size)


def verify(dataset: Path, workers: int) -> ExitCode:
    """Check a dataset, print every fault with its shard and sample, and their counts.

    Returns:
        ``DONE`` when there is no fault, else ``USER``.

    Raises:
        UserError: When dataset.json or the table cannot be used, without which nothing else can be judged.
    """
    table = SampleTable.read(dataset)
    faults: list[Issue] = []
    with Progress("verify", len(table), unit="images") as progress:
        for images, found in check(dataset, table, workers):
            for fault in found:
                sys.stdout.write(describe(fault, table) + "\n")
            faults += found
            progress.step(images, note=f"{len(faults)} faults")
    sys.stdout.write(summary(dataset, table, faults))
    return ExitCode.USER if faults else ExitCode.DONE


def describe(fault: Issue, table: SampleTable) -> str:
    """Return a fault as a line that names its file and its sample."""
    sample = "" if fault.row == WHOLE else f" image {table.image_id[fault.row]}:"
    return f"{paths.SHARDS}/{fault.file}:{sample} {fault.found}"


def summary(dataset: Path, table: SampleTable, faults: Sequence[Issue]) -> str:
    """Return the closing lines: what was looked at, and how much of it is damaged."""
    looked = f"{dataset}: {len(table)} images in {len(np.unique(table.shard))} shards"
    if not faults:
        return f"{looked}, nothing is damaged\n"
    rows = np.unique([fault.row for fault in faults if fault.row != WHOLE]).astype(np.int64)
    test = int((table.split[rows] == "test").sum())
    return (
        f"{looked}: {len(faults)} faults in {len({fault.file for fault in faults})} files,"
        f" {len(rows) - test} training images and {test} test images have one\n"
        "copy these files from where they are whole, or build the dataset again;"
        " --skip-damaged trains without the images that cannot be used\n"
    )


def check(dataset: Path, table: SampleTable, workers: int) -> Iterator[tuple[int, list[Issue]]]:
    """Check the shards, several at a time, and yield each one's number of images and its faults, in the table's order.

    Reading and hashing release Python's lock, so that threads are enough.
    """
    names, first = np.unique(table.shard, return_index=True)
    shards = [(str(name), np.flatnonzero(table.shard == name).tolist()) for name in names[np.argsort(first)]]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="verify")
    try:
        yield from pool.map(lambda shard: (len(shard[1]), _check_shard(dataset, table, *shard)), shards)
    finally:
        pool.shutdown(cancel_futures=True)


def _check_shard(dataset: Path, table: SampleTable, name: str, rows: Sequence[int]) -> list[Issue]:
    samples: dict[int, list[_Member]] = {}
    faults = []
    position = 0
    for row in rows:
        samples[row] = _members(table, row, position)
        position = samples[row][-1].end
        offsets = [member.offset for member in samples[row] if member.extension != "json"]
        told = [int(offset) for offset in (table.offset[row], table.rle_offset[row]) if offset >= 0]
        if told != offsets:
            faults.append(Issue(name, row, f"the table has its members at {told}, the shard at {offsets}"))
    path = paths.shards(dataset) / name
    faults += [Issue(name, row, found) for row, found in _tar_faults(path, samples)]
    index = path.with_suffix(".idx")
    return faults + [Issue(index.name, row, found) for row, found in _index_faults(index, samples)]


def _members(table: SampleTable, row: int, position: int) -> list[_Member]:
    """Return a sample's members in their order, when the sample begins at ``position``."""
    described = [
        (str(table.encoding[row]), int(table.bytes[row]), str(table.sha256[row])),
        ("rle", int(table.rle_bytes[row]), str(table.rle_sha256[row])),
        ("json", int(table.json_bytes[row]), str(table.json_sha256[row])),
    ]
    if table.rle_offset[row] < 0:
        del described[1]
    found = []
    for extension, size, sha256 in described:
        found.append(_Member(f"{table.wds_key[row]}.{extension}", extension, position + BLOCKSIZE, size, sha256))
        position = found[-1].end
    return found


def _tar_faults(path: Path, samples: Mapping[int, Sequence[_Member]]) -> Found:
    try:
        file = _open(path)
    except OSError as error:
        yield from ((row, f"the shard cannot be opened: {error.strerror}") for row in samples)
        return
    with file:
        end = 0
        for row, members in samples.items():
            yield from ((row, found) for found in _sample_faults(file, members))
            end = members[-1].end
        yield from ((WHOLE, found) for found in _end_faults(file, end))


def _sample_faults(file: FileIO, members: Sequence[_Member]) -> Iterator[str]:
    start, end = members[0].offset - BLOCKSIZE, members[-1].end
    try:
        content = memoryview(os.pread(file.fileno(), end - start, start))
    except OSError as error:
        # A sector that cannot be read; the next sample's may be well.
        yield f"bytes {start} to {end} cannot be read: {error.strerror}"
        return
    if len(content) < end - start:
        yield f"the shard ends at byte {os.fstat(file.fileno()).st_size}, the sample at {end}"
        return
    for member in members:
        place = member.offset - start
        header, data = content[place - BLOCKSIZE : place], content[place : place + member.size]
        if header != tar.header(member.name, member.size):
            yield f"the header of its {member.extension} member {_header(bytes(header), member)}"
        if hashlib.sha256(data).hexdigest() != member.sha256:
            yield f"its {member.extension} member is damaged (the SHA-256 is not the table's)"
        if any(content[place + member.size : member.end - start]):
            yield f"the padding of its {member.extension} member is damaged"


def _header(header: bytes, member: _Member) -> str:
    """Say what lies where a member's header should be."""
    name = header[:100].rstrip(b"\0")
    other = header[257:262] == b"ustar" and name != member.name.encode() and name.isascii()
    return f"names {str(name, 'ascii')!r}, not {member.name!r}" if other else "is damaged"


def _end_faults(file: FileIO, end: int) -> Iterator[str]:
    size, right = os.fstat(file.fileno()).st_size, tar.whole(end)
    if size != right:
        yield f"the shard has {size} bytes, expected {right}"
    elif any(os.pread(file.fileno(), right - end, end)):
        yield "the archive's end is damaged"


def _index_faults(path: Path, samples: Mapping[int, Sequence[_Member]]) -> Found:
    lines = [
        tar.index_line(members[0].name.partition(".")[0], [(m.extension, m.offset, m.size) for m in members])
        for members in samples.values()
    ]
    right = tar.index(lines)
    try:
        with _open(path) as file:
            text = str(file.read(len(right) + 1), "ascii", "replace")
    except OSError as error:
        yield WHOLE, f"the index cannot be opened: {error.strerror}"
        return
    if text == right:
        return
    owners = [WHOLE, *samples]
    for number, (line, wanted) in enumerate(zip_longest(text.splitlines(), right.splitlines(), fillvalue="nothing")):
        if line != wanted:
            row = owners[number] if number < len(owners) else WHOLE
            yield row, f"line {number + 1} of the index is {line[:120]!r}, expected {wanted[:120]!r}"


def _open(path: Path) -> FileIO:
    # Opening a pipe that lies there would wait for its writer.
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return path.open("rb", buffering=0)
