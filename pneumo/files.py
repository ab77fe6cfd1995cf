"""Publishing files: written beside the target, flushed to disk, then renamed, so that no reader sees a half."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pneumo.console import log


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


@contextmanager
def publish(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file beside ``target`` that replaces it when the block ends without an error.

    The parent directory is made when it is missing. On an error the temporary file is removed and
    ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
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
        _name(error, target)
        raise
    sync_directory(target.parent)


def publish_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target``, replacing it in one step."""
    with publish(target) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def publish_directory(target: Path) -> Iterator[Path]:
    """Give a temporary directory beside ``target`` that takes its name when the block ends without an error.

    ``target`` must not exist yet. Every file directly inside is flushed to disk before the rename.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
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
        _name(error, target)
        raise
    sync_directory(target.parent)


def remove_leftovers(folder: Path, target: str = "") -> None:
    """Remove what killed processes were writing in a directory, or there to one target.

    The caller is the only one to write it now.
    """
    if folder.is_dir():
        for path in folder.iterdir():
            # A dot, the target's name, a dot, and eight letters of tempfile's.
            if re.fullmatch(rf"\.{re.escape(target) or '.+'}\.[a-z0-9_]{{8}}", path.name):
                log.info("removing %s, left by a killed process", path)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    _remove(path)


def _remove(temporary: Path) -> None:
    """Remove what a failed write left, unless the file system that failed it does not allow even that."""
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _name(error: BaseException, target: Path) -> None:
    """Let an error of the system say which file it is about; a failed write by itself does not."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(target)


def current_umask() -> int:
    """Return the process's umask (reading it means setting it for an instant)."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
