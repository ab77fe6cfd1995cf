"""Where the files of a dataset are read from: a directory, or a URL of an object store through fsspec."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.url import url
from pneumo.runtime.documents import MAX_BYTES
from pneumo.runtime.errors import UserError, first_line

PIECE = 256 << 10
"""Bytes that are read at once: between two of these reads, whoever copies looks whether to stop."""
_REQUEST = 8 << 20
"""Bytes that an object store is asked for in one request, of which the reads are then served."""
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


class OriginLostError(Exception):
    """A file could not be read, for another reason than that there is none: the network, the mount, permissions."""


class Origin:
    """Reads the files of a dataset.

    Args:
        dataset: A directory, or a URL as a path.

    Raises:
        UserError: When the URL's file system is unknown, or its package is not installed.
    """

    def __init__(self, dataset: Path) -> None:
        self._url = url(dataset)
        self.is_url = bool(self._url)
        self.name = self._url or str(dataset)
        """As it was given, for messages."""
        self._directory = dataset
        self._files: Any = None
        if self._url:
            self._files, self._root = _open_file_system(self._url)

    def manifest(self) -> Manifest:
        """Read dataset.json.

        Raises:
            FileNotFoundError: When there is none.
            OriginLostError: When it cannot be read.
            UserError: When it is damaged, or of another format version.
        """
        with self.open(paths.MANIFEST) as file:
            content = file.read(MAX_BYTES + 1)
        return Manifest.parse(content, f"{self.name}/{paths.MANIFEST}")

    @contextmanager
    def open(self, name: str) -> "Iterator[OriginFile]":
        """Open a file of the dataset.

        Args:
            name: Relative to the dataset, with slashes.

        Raises:
            FileNotFoundError: When there is none.
            OriginLostError: When it cannot be opened.
        """
        where = f"{self.name}/{name}"
        with _explained(where):
            file = (
                (self._directory / name).open("rb", buffering=0)
                if self._files is None
                else self._files.open(f"{self._root}/{name}", "rb", block_size=_REQUEST)
            )
        with file:
            yield OriginFile(file, where)


class OriginFile:
    """A file that is open for reading.

    Args:
        file: The file.
        where: Its name for messages.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file, self._where = file, where

    def read(self, size: int = PIECE) -> bytes:
        """Read at most so many bytes; none at the end of the file.

        Raises:
            OriginLostError: When they cannot be read.
        """
        with _explained(self._where):
            return self._file.read(size)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what file systems raise, whose libraries have errors of their own, into one error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise OriginLostError(f"{where} cannot be read ({first_line(error)})") from error


def _open_file_system(given: str) -> tuple[Any, str]:
    # A tenth of a second, and only for URLs.
    from fsspec.core import url_to_fs

    scheme = given.partition(":")[0]
    try:
        files, root = url_to_fs(given)
    except ImportError as error:
        raise UserError(
            f"{given}: {first_line(error)}",
            f"the package that reads {scheme} URLs",
            f"pip install {_PACKAGES.get(scheme, 'it')}",
        ) from None
    except Exception as error:
        # Each file system has errors of its own.
        raise UserError(f"{given}: {first_line(error)}", "a URL that fsspec can read", "correct --dataset") from error
    return files, str(root).rstrip("/")
