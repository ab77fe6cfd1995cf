"""Headers that the tasks of one build share: what one has read, the others need not read again.

Each task begins with other files and publishes what it reads below the dataset's ``.build``, some files at a time. None
waits for another: what is missing there, is damaged, or is of files that have changed since, it reads by itself.
"""

import hashlib
import heapq
import hmac
import json
import os
import re
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pneumo import __version__
from pneumo.dataset import limits, paths, scan
from pneumo.dataset.scan import Archive, QuarantineRow, ScannedFile, Source
from pneumo.dicom import opening
from pneumo.dicom.opening import Location
from pneumo.dicom.rejection import FileRejectedError
from pneumo.masks.image_ids import strip_suffix
from pneumo.runtime.files import temporary_prefix

Scanned = ScannedFile | QuarantineRow | Archive
State = tuple[int, int] | None
"""Size and time of modification, in nanoseconds; None when the system does not tell."""

NAME = re.compile(r"[0-9a-f]{64}")
"""What is published has such a name."""
_KEY_FILES, _CANDIDATES = 16, 256
"""DICOM files whose beginnings make the key, and files that are looked at for that, at most."""
_PREAMBLE, _MAGIC = 128, b"DICM"
"""Of a DICOM file (PS3.10, 7.1)."""
_FIELDS = ("image_id", "patient_id", "exclusion", "is_picture", "id_problem", "drawn")
"""What is published of a file. Its path is not, nor a picture's id, which is the file's name: they may name people."""


@dataclass(frozen=True, slots=True)
class SharedHeaders:
    """What the tasks have read so far.

    Patients are known by a digest whose key is made of DICOM files and is written nowhere. So nobody can find out by
    trials who is among them, unless he has these files themselves.
    """

    directory: Path
    key: bytes

    @classmethod
    def of(cls, dataset: Path, key: bytes) -> Self | None:
        """Return those of the tasks that build a dataset; None where nothing can be written."""
        directory = paths.shared_headers(dataset)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return cls(directory, key)

    def scan(self, sources: Sequence[Source]) -> list[Scanned]:
        """Return the headers of some files, as ``scan.scan_files``; patients are digests."""
        states = [_state(source.path) for source in sources]
        path = self.directory / self._name(sources, states)
        published = self._read(path, sources, states)
        known = published or [None] * len(sources)
        read = iter(scan.scan_files([source for source, item in zip(sources, known, strict=True) if item is None]))
        results = [self._hide(next(read)) if item is None else item for item in known]
        if published is None:
            self._publish(path, results, states)
        return results

    def scan_one(self, source: Source) -> Scanned:
        """Return the header of a file that may end the process; it is not published."""
        return self._hide(scan.scan_file(source))

    def _publish(self, path: Path, results: Sequence[Scanned], states: Sequence[State]) -> None:
        """Publish what is an image and has not changed while it was read."""
        rows = [
            _row(item) if isinstance(item, ScannedFile) and (item.size, item.modified_ns) == state else None
            for item, state in zip(results, states, strict=True)
        ]
        content = json.dumps(rows).encode("ascii")
        # Not flushed to the disk: one that is incomplete after a power cut does not have its digest.
        with suppress(OSError):
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path.name))
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self._digest(content) + content)
                Path(temporary).replace(path)
            finally:
                # Where the disk is full.
                Path(temporary).unlink(missing_ok=True)

    def _read(self, path: Path, sources: Sequence[Source], states: Sequence[State]) -> list[ScannedFile | None] | None:
        """Return what is published of some files, with None for each that is no image; None without a whole part."""
        with suppress(OSError, ValueError):
            data = path.read_bytes()
            content = data[hashlib.sha256().digest_size :]
            if hmac.compare_digest(data, self._digest(content) + content):
                rows = json.loads(content)
                return [_scanned_file(*of_file) for of_file in zip(sources, states, rows, strict=True)]
        return None

    def _hide(self, item: Scanned) -> Scanned:
        if not isinstance(item, ScannedFile) or not item.patient_id:
            return item
        return replace(item, patient_id=self._digest(item.patient_id.encode("utf-8", "surrogateescape")).hex())

    def _name(self, sources: Sequence[Source], states: Sequence[State]) -> str:
        """Return the name under which the headers of files in this state are published."""
        described = [(source.split, source.file, state) for source, state in zip(sources, states, strict=True)]
        return self._digest(json.dumps([__version__, described]).encode("ascii")).hex()

    def _digest(self, content: bytes) -> bytes:
        return hmac.digest(self.key, content, "sha256")


def choose_key_files(sources: Sequence[Source]) -> list[Source]:
    """Choose the files that may make the key: the same in each task, and of no one kind of name."""
    return heapq.nsmallest(
        _CANDIDATES, sources, key=lambda source: zlib.crc32(source.file.encode("utf-8", "surrogateescape"))
    )


def make_key(candidates: Sequence[Source]) -> bytes | None:
    """Return a digest of the beginnings of the first DICOM files among some; None without any.

    Of other files somebody else may have copies: links, icons, files without content.
    """
    digest, used = hashlib.sha256(), 0
    for source in candidates:
        with suppress(FileRejectedError):
            beginning = limits.timed(_beginning, source.path)
            if beginning[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC:
                digest.update(beginning)
                used += 1
        if used == _KEY_FILES:
            break
    return digest.digest() if used else None


def _beginning(location: Location) -> bytes:
    with opening.open_file(location) as file:
        return file.read(scan.HEADER_BYTES)


def _state(location: Location) -> State:
    with suppress(FileRejectedError):
        return limits.timed(opening.state, location)
    return None


def _row(item: ScannedFile) -> list[Any]:
    """Return what is published of a file, in the order of ``_FIELDS``."""
    if item.is_picture:
        item = replace(item, image_id="")
    return [getattr(item, name) for name in _FIELDS]


def _scanned_file(source: Source, state: State, row: Sequence[Any] | None) -> ScannedFile | None:
    if row is None or state is None:
        return None
    published = dict(zip(_FIELDS, row, strict=True))
    stem = strip_suffix(source.path.name)
    if published["is_picture"]:
        published["image_id"] = stem
    return ScannedFile(source=source, stem=stem, size=state[0], modified_ns=state[1], **published)
