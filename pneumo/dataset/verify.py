"""Verify a finished dataset: every bit of its shards and their indices, against the table.

What a build writes depends only on the samples (see ``tar``), and the table has the name, offset, size and SHA-256 of
each member. So there is one right value for every header, member, padding, index line and end of an archive, and a
difference is an issue of one sample, or of the shard where no sample has those bytes. The table itself is verified
against dataset.json when it is read. Files that the table does not name are ignored.
"""

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from itertools import zip_longest
from pathlib import Path
from tarfile import BLOCKSIZE

import numpy as np

from pneumo.dataset import paths, tar
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import counted

WHOLE_SHARD = -1
"""Row of an issue that no single sample has."""

_RowIssues = Iterator[tuple[int, str]]
"""Rows of the table (or ``WHOLE_SHARD``), each with what was found there."""


@dataclass(frozen=True)
class Issue:
    """A difference between a file and what was written."""

    file: str
    """Name of the tar or index in the shards directory."""
    row: int
    """Row of the sample in the table, or ``WHOLE_SHARD``."""
    found: str
    """What differs."""


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member's data should be, and what it should be."""

    name: str
    extension: str
    offset: int
    size: int
    sha256: str

    @property
    def end(self) -> int:
        return self.offset + tar.padded_size(self.size)


def describe(issue: Issue, table: SampleTable) -> str:
    """Return an issue as a line that names its file and its sample."""
    sample = "" if issue.row == WHOLE_SHARD else f" image {table.image_id[issue.row]}:"
    return f"{paths.SHARDS}/{issue.file}:{sample} {issue.found}"


def summary(dataset: Path, table: SampleTable, issues: Sequence[Issue]) -> str:
    """Return the closing lines: what was verified, and how much of it is damaged."""
    verified = f"{dataset}: {counted(len(table), 'image')} in {counted(len(np.unique(table.shard)), 'shard')}"
    if not issues:
        return f"{verified}, nothing is damaged\n"
    rows = np.unique([issue.row for issue in issues if issue.row != WHOLE_SHARD]).astype(np.int64)
    train, test, unlabeled = (int((table.split[rows] == split).sum()) for split in paths.SPLITS)
    images = [counted(train, "training image"), counted(test, "test image")]
    images += [counted(unlabeled, "unlabeled image")] if unlabeled else []
    return (
        f"{verified}: {counted(len(issues), 'issue')} in {counted(len({issue.file for issue in issues}), 'file')},"
        f" of {' and '.join(images)}\n"
        "copy these files again from an undamaged dataset, or build the dataset again; --skip-damaged trains without"
        " the training images that cannot be used, and gives such test images empty masks\n"
    )


def check(dataset: Path, table: SampleTable, workers: int) -> Iterator[tuple[int, list[Issue]]]:
    """Check the shards in the table's order, and yield each one's number of images and its issues.

    Reading and hashing release Python's lock, so that threads work in parallel.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="verify")
    try:
        yield from pool.map(lambda shard: (len(shard[1]), _check_shard(dataset, table, *shard)), shard_rows(table))
    finally:
        pool.shutdown(cancel_futures=True)


def shard_rows(table: SampleTable) -> list[tuple[str, list[int]]]:
    """Return the shards in the table's order: the name of each tar, and the rows of its samples."""
    names, first, shard = np.unique(table.shard, return_index=True, return_inverse=True)
    rows = np.split(np.argsort(shard, kind="stable"), np.cumsum(np.bincount(shard))[:-1])
    return [(str(names[number]), rows[number].tolist()) for number in np.argsort(first)]


def shard_size(table: SampleTable, last: int) -> int:
    """Return the bytes of the tar whose last sample has this row."""
    return tar.archive_size(_members(table, last, int(table.offset[last]) - BLOCKSIZE)[-1].end)


class ExpectedShard:
    """What the table says of a shard.

    Args:
        table: The table.
        name: Name of the tar.
        rows: The rows of its samples.
    """

    def __init__(self, table: SampleTable, name: str, rows: Sequence[int]) -> None:
        self.name = name
        self._samples: dict[int, list[_Member]] = {}
        self._misplaced: list[Issue] = []
        position = 0
        for row in rows:
            self._samples[row] = _members(table, row, position)
            position = self._samples[row][-1].end
            offsets = [member.offset for member in self._samples[row] if member.extension != "json"]
            recorded = [int(offset) for offset in (table.offset[row], table.rle_offset[row]) if offset >= 0]
            if recorded != offsets:
                found = f"the table has its members at {recorded}, the shard at {offsets}"
                self._misplaced.append(Issue(name, row, found))
        self._end = position

    @property
    def size(self) -> int:
        """Bytes of the tar."""
        return tar.archive_size(self._end)

    @property
    def index(self) -> str:
        """The text of its index."""
        return tar.index(
            [
                tar.index_line(members[0].name.partition(".")[0], [(m.extension, m.offset, m.size) for m in members])
                for members in self._samples.values()
            ]
        )

    def issues(self, file: int) -> list[Issue]:
        """Return how a tar, by its open descriptor, differs."""
        found = [(row, text) for row, members in self._samples.items() for text in _check_sample(file, members)]
        found += [(WHOLE_SHARD, text) for text in _check_end(file, self._end)]
        return self._misplaced + [Issue(self.name, row, text) for row, text in found]

    def unopened(self, error: OSError) -> list[Issue]:
        """Return the issues of a tar that cannot be opened."""
        return self._misplaced + [
            Issue(self.name, row, f"the shard cannot be opened: {error.strerror}") for row in self._samples
        ]

    def index_issues(self, index: Path) -> list[Issue]:
        """Return how an index differs."""
        return [Issue(index.name, row, text) for row, text in _check_index(index, self.index, list(self._samples))]


def _check_shard(dataset: Path, table: SampleTable, name: str, rows: Sequence[int]) -> list[Issue]:
    expected, path = ExpectedShard(table, name, rows), paths.shards(dataset) / name
    try:
        file = _open(path)
    except OSError as error:
        issues = expected.unopened(error)
    else:
        with file:
            issues = expected.issues(file.fileno())
    return issues + expected.index_issues(path.with_suffix(".idx"))


def _members(table: SampleTable, row: int, position: int) -> list[_Member]:
    """Return a sample's members in their order, when the sample begins at ``position``."""
    described = [
        (str(table.image_format[row]), int(table.bytes[row]), table.sha256[row].decode()),
        ("rle", int(table.rle_bytes[row]), table.rle_sha256[row].decode()),
        ("json", int(table.json_bytes[row]), table.json_sha256[row].decode()),
    ]
    if table.rle_offset[row] < 0:
        del described[1]
    found = []
    for extension, size, sha256 in described:
        found.append(_Member(f"{table.wds_key[row]}.{extension}", extension, position + BLOCKSIZE, size, sha256))
        position = found[-1].end
    return found


def _check_sample(file: int, members: Sequence[_Member]) -> Iterator[str]:
    start, end = members[0].offset - BLOCKSIZE, members[-1].end
    try:
        content = memoryview(os.pread(file, end - start, start))
    except OSError as error:
        # A sector that cannot be read; those of the next sample may be good.
        yield f"bytes {start} to {end} cannot be read: {error.strerror}"
        return
    if len(content) < end - start:
        yield f"the shard ends at byte {os.fstat(file).st_size}, the sample at {end}"
        return
    for member in members:
        at = member.offset - start
        header, data = content[at - BLOCKSIZE : at], content[at : at + member.size]
        if header != tar.header(member.name, member.size):
            yield f"the header of its {member.extension} member {_describe_header(bytes(header), member)}"
        if hashlib.sha256(data).hexdigest() != member.sha256:
            yield f"its {member.extension} member is damaged (the SHA-256 is not the table's)"
        if any(content[at + member.size : member.end - start]):
            yield f"the padding of its {member.extension} member is damaged"


def _describe_header(header: bytes, member: _Member) -> str:
    """Describe the bytes found in place of a member's header."""
    name = header[:100].rstrip(b"\0")
    other = header[257:262] == b"ustar" and name != member.name.encode() and name.isascii()
    return f"names {str(name, 'ascii')!r}, not {member.name!r}" if other else "is damaged"


def _check_end(file: int, end: int) -> Iterator[str]:
    size, expected = os.fstat(file).st_size, tar.archive_size(end)
    if size != expected:
        yield f"the shard has {size} bytes, expected {expected}"
    elif any(os.pread(file, expected - end, end)):
        yield "the archive's end is damaged"


def _check_index(path: Path, expected: str, rows: Sequence[int]) -> _RowIssues:
    try:
        with _open(path) as file:
            text = str(file.read(len(expected) + 1), "ascii", "replace")
    except OSError as error:
        yield WHOLE_SHARD, f"the index cannot be opened: {error.strerror}"
        return
    if text == expected:
        return
    owners = [WHOLE_SHARD, *rows]
    for number, (line, right) in enumerate(zip_longest(text.splitlines(), expected.splitlines(), fillvalue="no line")):
        if line != right:
            row = owners[number] if number < len(owners) else WHOLE_SHARD
            yield row, f"line {number + 1} of the index is {line[:120]!r}, expected {right[:120]!r}"


def _open(path: Path) -> FileIO:
    # Opening a named pipe would wait for its writer.
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return path.open("rb", buffering=0)
