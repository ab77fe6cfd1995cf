"""Publish files: written beside the target, flushed to disk, then renamed, so that no reader sees a part of one."""

import contextlib
import csv
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError

TEMPORARY = "pneumo-tmp-"
"""What the last part of a temporary file's name begins with: hidden files of the user's have other names."""


def temporary_prefix(target: str) -> str:
    """Return what the names of a target's temporary files begin with, for ``tempfile``: it appends eight letters."""
    return f".{target}.{TEMPORARY}"


def sync_directory(path: Path) -> None:
    """Flush a directory's entries, so that a rename inside it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems do not sync directories; the rename itself is still atomic there.
        pass
    finally:
        os.close(descriptor)


def check_target(target: Path) -> None:
    """Refuse, before hours of work, a path where no file can be written at the end of it.

    Raises:
        UserError: When it is a directory, a device or a link, is below a file, or may not be written to.
    """
    try:
        _check_kind(target)
        # The file is written under a longer name, which the file system has to take.
        target.with_name(f"{temporary_prefix(target.name)}{'x' * 8}").exists()
        if target.is_symlink():
            # Publishing would replace the link and not its target; /dev/stdout is a link too.
            raise UserError(f"{target} is a link", "the name of a file to write", "give the path of its target")
        check_writable(target.absolute().parent)
    except OSError as error:
        raise UserError(f"{target}: {error.strerror}", "a file that can be written", "give another path") from None


def check_writable(directory: Path) -> None:
    """Try to write in a directory, or in the nearest one above that exists.

    Raises:
        OSError: When it is no directory, or cannot be written to.
    """
    directory = directory.absolute()
    while not directory.exists():
        directory = directory.parent
    # Writing is a surer test than reading permissions, which a mount may not grant. The file has no name.
    with tempfile.TemporaryFile(dir=directory):
        pass


@contextmanager
def publish(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file beside ``target`` that replaces it when the block ends without an error.

    The parent directory is made when it is missing. On an error the temporary file is removed and ``target`` is
    unchanged.
    """
    _check_kind(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=temporary_prefix(target.name))
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp gives 0600; what is published follows the user's umask like any other file.
        temporary.chmod(0o666 & ~current_umask())
        temporary.replace(target)
    except BaseException as error:
        _remove(temporary)
        _add_file_name(error, target)
        raise
    sync_directory(target.parent)


def publish_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target``, replacing it in one step."""
    with publish(target) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def publish_directory(target: Path) -> Iterator[Path]:
    """Yield a temporary directory beside ``target`` that is renamed to it when the block ends without an error.

    ``target`` must not exist yet. Every file directly inside is flushed to disk before the rename.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=temporary_prefix(target.name)))
    try:
        yield temporary
        for entry in temporary.iterdir():
            if entry.is_file():
                descriptor = os.open(entry, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        temporary.chmod(0o777 & ~current_umask())
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _add_file_name(error, target)
        raise
    sync_directory(target.parent)


def remove_temporary_files(directory: Path, target: str = "") -> None:
    """Remove the temporary files of other processes in a directory, all of them or those of one target.

    These processes should have been killed: one that is still writing there fails.
    """
    if directory.is_dir():
        for path in directory.iterdir():
            if is_temporary(path, target):
                log.info("removing %s, which another process has not finished", path)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    _remove(path)


def is_temporary(path: Path, target: str = "") -> bool:
    """Return whether a path has the name of a temporary file, of one target or of any."""
    return bool(re.fullmatch(rf"\.{re.escape(target) or '.+'}\.{TEMPORARY}[a-z0-9_]{{8}}", path.name))


def _check_kind(target: Path) -> None:
    """Refuse to replace a directory, or a device, which other processes of the system need."""
    if target.exists() and not target.is_file():
        kind = "a directory" if target.is_dir() else "not a regular file"
        raise UserError(f"{target} is {kind}", "the name of a file to write", "give another path")


def _remove(temporary: Path) -> None:
    """Remove what a failed write left, unless the file system refuses that too."""
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _add_file_name(error: BaseException, target: Path) -> None:
    """Add the file's name to an error of the system; that of a failed write has none."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(target)


def current_umask() -> int:
    """Return the process's umask.

    Linux tells it; elsewhere reading it requires setting it for a moment, in which another thread must make no file.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish_csv(target: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Publish a CSV file, replacing it in one step: UTF-8, Unix line ends.

    Strings that a spreadsheet would run as a formula are the caller's to escape (``image_ids.escape_formula``).
    """
    publish_text(target, format_csv(header, rows))


def format_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the text of a CSV file with Unix line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
