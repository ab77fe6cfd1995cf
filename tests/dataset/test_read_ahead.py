"""The system is asked for the next files, in their order, and for no more than are soon needed."""

import os
from pathlib import Path

import pytest

from pneumo.dataset import limits
from pneumo.dataset.read_ahead import AHEAD, read_ahead
from pneumo.dicom.zip_archives import ZipMember

FILES = AHEAD + 4


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The files that the system was asked for, with the number of bytes."""
    found: list[tuple[str, int]] = []

    def advise(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert (offset, advice) == (0, os.POSIX_FADV_WILLNEED)
        found.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, length))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return found


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02d}" for number in range(FILES)]
    for path in paths:
        path.write_bytes(b"x")
    return paths


def test_each_file_that_is_begun_lets_the_system_read_one_more(asked: list, files: list[Path]) -> None:
    wanted = [(path.name, 512) for path in files]
    for number, _ in enumerate(read_ahead(files, 512)):
        assert asked == wanted[: AHEAD + number + 1]
    assert number == FILES - 1
    assert asked == wanted


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1])
def test_every_file_has_its_turn_however_many_there_are(asked: list, files: list[Path], count: int) -> None:
    assert len(list(read_ahead(files[:count]))) == count
    assert asked == [(path.name, 0) for path in files[:count]]


def test_what_cannot_be_opened_is_left_to_its_reader(asked: list, files: list[Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    member = ZipMember(tmp_path / "archive.zip", 0, "x.dcm")
    others = [tmp_path / "missing", tmp_path / "fifo", tmp_path / "device", tmp_path, member]
    assert len(list(read_ahead([*others, files[0]]))) == 6
    assert asked == [(files[0].name, 0)]


def test_asking_has_the_time_limit_of_a_file(asked: list, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def note(read: object, path: Path) -> None:
        timed.append(path)

    monkeypatch.setattr(limits, "timed", note)
    list(read_ahead(files))
    assert timed == files
    assert not asked


def test_files_are_read_where_the_system_cannot_be_asked(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise")
    assert len(list(read_ahead(files))) == FILES
