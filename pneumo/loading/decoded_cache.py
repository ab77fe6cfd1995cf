"""Decoded samples that are kept for the next epoch: the same bits as those that are decoded anew.

Every image is decoded when it is first needed and never read again; a rank keeps only what it has read itself, or what
ranks that share its file have. A sample counts as kept only once all of its bytes are there. A cache may fail and
nothing else fails with it: what it does not give is read from the shards.
"""

import mmap
import os
import threading
from contextlib import suppress
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dicom.image_codec import Pixels
from pneumo.loading.cache_layout import CacheLayout
from pneumo.loading.images import read_reduced
from pneumo.runtime.console import log

Bytes = npt.NDArray[np.uint8]


class Storage(Protocol):
    """Bytes that are all 0 until they are written."""

    def read(self, offset: int, size: int) -> Bytes:
        """Return bytes, (size,), not to be changed. OSError when they cannot be read."""
        ...

    def write(self, offset: int, content: Bytes) -> None:
        """Store bytes. OSError when there is no room for them."""
        ...


class MemoryStorage:
    """Memory of this process; a page takes none until it is written to.

    Args:
        size: Bytes.

    Raises:
        OSError: When the system does not give that much.
    """

    def __init__(self, size: int) -> None:
        # Private memory: what is shared counts as a file in memory, which many containers bound to 64 MB.
        memory = mmap.mmap(-1, max(size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # In pages of 2 MB the first write to an image costs a third. Not every system has them.
        with suppress(OSError, AttributeError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._content = np.frombuffer(memory, np.uint8)

    def read(self, offset: int, size: int) -> Bytes:
        """Return bytes without copying them."""
        return self._content[offset : offset + size]

    def write(self, offset: int, content: Bytes) -> None:
        """Store bytes."""
        self._content[offset : offset + len(content)] = content


class FileStorage:
    """A file without a name, which disappears with the last process that has it open, however that ends.

    It is read and written and not mapped: on a full or failing disk a mapped page ends the process without a message.

    Args:
        file: Descriptor of the file, which is closed with this object.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def __del__(self) -> None:
        os.close(self._file)

    def read(self, offset: int, size: int) -> Bytes:
        """Return bytes; those beyond the file's end are 0."""
        content = np.zeros(size, np.uint8) if size < mmap.PAGESIZE else np.empty(size, np.uint8)
        done = 0
        while done < size:
            count = os.preadv(self._file, [content[done:].data], offset + done)
            if count == 0:
                content[done:] = 0
                break
            done += count
        return content

    def write(self, offset: int, content: Bytes) -> None:
        """Store bytes."""
        done = 0
        while done < len(content):
            done += os.pwrite(self._file, content[done:].data, offset + done)


class DecodedCache:
    """Reads samples through a cache. Threads may share it, and processes its storage.

    Args:
        layout: Which samples have a place, and where.
        storage: ``storage_bytes(layout)`` bytes of 0, or what another cache of the same layout has written there.
    """

    def __init__(self, layout: CacheLayout, storage: Storage) -> None:
        self.layout = layout
        self._storage: Storage | None = storage
        self._samples = len(layout.table)
        # Bytes that are 1 when an image or run lengths are there: those of all images, of all run lengths, then these.
        self._known = np.zeros(2 * self._samples, np.bool_)
        self._lock = threading.Lock()

    def image(self, reader: ShardReader, row: int, factor: int) -> Pixels:
        """Return ``images.read_reduced(reader, row, factor)``, and keep it if it has a place.

        Args:
            reader: Reads the files of the layout's table.
            row: Row of the sample table.
            factor: 1, 2, 4 or 8.

        Returns:
            (rows, columns), not to be changed.

        Raises:
            UserError: When the sample is not kept yet, and damaged.
        """
        if not self.layout.has(row, factor):
            return read_reduced(reader, row, factor)
        offset, shape, kind = self.layout.image(row)
        found = self._get(row, offset, shape[0] * shape[1] * np.dtype(kind).itemsize)
        if found is not None:
            return found.view(kind).reshape(shape)
        pixels = read_reduced(reader, row, factor)
        self._put(row, offset, pixels.reshape(-1).view(np.uint8))
        return pixels

    def rle(self, reader: ShardReader, row: int) -> str:
        """Return ``reader.rle(row)`` of a positive row, and keep it if it has a place.

        Raises:
            UserError: When the run lengths are not kept yet, and damaged.
        """
        if self.layout.offsets[row] < 0:
            return reader.rle(row)
        offset, size = self.layout.run_lengths(row)
        found = self._get(self._samples + row, offset, size)
        if found is not None:
            return str(found.data, "ascii")
        text = reader.rle(row)
        self._put(self._samples + row, offset, np.frombuffer(text.encode("ascii"), np.uint8))
        return text

    def _get(self, mark: int, offset: int, size: int) -> Bytes | None:
        storage = self._storage
        if storage is None:
            return None
        try:
            # Another process may have filled it in.
            if not self._known[mark] and not storage.read(mark, 1)[0]:
                return None
            self._known[mark] = True
            return storage.read(self._first + offset, size)
        except OSError as error:
            self._give_up(error)
            return None

    def _put(self, mark: int, offset: int, content: Bytes) -> None:
        storage = self._storage
        if storage is None:
            return
        try:
            storage.write(self._first + offset, content)
            storage.write(mark, np.ones(1, np.uint8))
        except OSError as error:
            self._give_up(error)

    @property
    def _first(self) -> int:
        return marks_bytes(self.layout)

    def _give_up(self, error: OSError) -> None:
        """Go on without the cache."""
        with self._lock:
            told, self._storage = self._storage is None, None
        if not told:
            log.warning("decoded images are no longer kept: %s", error.strerror or error)


def marks_bytes(layout: CacheLayout) -> int:
    """Return the bytes that say what is there, at the beginning of a cache's storage; whole pages."""
    return -(-2 * len(layout.table) // mmap.PAGESIZE) * mmap.PAGESIZE


def storage_bytes(layout: CacheLayout) -> int:
    """Return the bytes of a cache's storage."""
    return marks_bytes(layout) + layout.bytes
