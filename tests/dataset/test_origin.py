"""Files of a dataset by their directory or their URL, and one error for all that file systems raise."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pneumo.dataset import paths
from pneumo.dataset.local_copy import LocalCopy
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.origin import Origin, OriginLostError
from pneumo.runtime.errors import UserError


@pytest.fixture
def in_memory(built: Path) -> Iterator[Path]:
    """The dataset in fsspec's file system in memory."""
    files = fsspec.filesystem("memory")
    files.put(str(built), "/bucket/siim", recursive=True)
    yield Path("memory://bucket/siim")
    files.rm("/bucket", recursive=True)


def test_a_directory_and_its_urls_have_the_same_files(built: Path, in_memory: Path, tmp_path: Path) -> None:
    given = [built, Path(f"file://{built}"), in_memory]
    assert [Origin(path).is_url for path in given] == [False, True, True]
    assert [Origin(path).name for path in given] == [str(built), f"file://{built}", "memory://bucket/siim"]
    for number, path in enumerate(given):
        origin = Origin(path)
        assert origin.manifest() == Manifest.read(built)
        with origin.open(paths.SAMPLES) as file:
            assert file.read(4) + b"".join(iter(file.read, b"")) == paths.samples(built).read_bytes()
        copy = LocalCopy(tmp_path / str(number), origin.manifest())
        copy.ensure(origin, lambda activity: None)
        assert copy.is_complete


def test_what_is_not_there_is_no_lost_connection(built: Path, in_memory: Path) -> None:
    for path in (built, Path(f"file://{built}"), in_memory):
        with pytest.raises(FileNotFoundError), Origin(path).open("shards/train-999999.tar"):
            pass


def test_other_errors_are_of_one_kind_with_the_name(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCredentialsError(Exception):
        """As botocore's, no OSError."""

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.open", refuse)
    with pytest.raises(OriginLostError, match=r"memory://b/x/a cannot be read \(NoCredentialsError: Unable to"):
        Origin(Path("memory://b/x")).open("a").__enter__()
    # A directory in place of a file.
    with pytest.raises(OriginLostError, match=r"shards cannot be read \(IsADirectoryError"):
        Origin(built).open("shards").__enter__()


def test_a_read_that_fails_is_a_lost_connection(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with Origin(tmp_path).open("a") as file:
        os.close(file._file.fileno())
        with pytest.raises(OriginLostError, match=r"/a cannot be read \(OSError: \[Errno 9\]"):
            file.read()
        file._file = (tmp_path / "a").open("rb")


def test_a_damaged_dataset_json_names_its_url(built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built, tmp_path / "copy")
    text = paths.manifest(copy).read_text()
    paths.manifest(copy).write_text(text.replace('"found": ', '"found": 1'))
    with pytest.raises(UserError, match=r"file:///.*/copy/dataset\.json: not what was written"):
        Origin(Path(f"file://{copy}")).manifest()
    paths.manifest(copy).write_text("{")
    with pytest.raises(UserError, match=r"copy/dataset\.json cannot be read"):
        Origin(Path(f"file://{copy}")).manifest()


def test_a_file_system_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"xyz://a/b: ValueError: Protocol not known: xyz; expected a URL that fsspec"):
        Origin(Path("xyz://a/b"))

    def refuse(given: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(UserError, match=r"s3://bucket/siim: .*pip install s3fs"):
        Origin(Path("s3://bucket/siim"))
