"""The system is asked for the next files, in their order, and for no more than are soon needed."""

import os
import threading
from pathlib import Path

import pytest
from waiting import LONG_S

from pneumo.dataset import read_ahead
from pneumo.dataset.read_ahead import AHEAD, reading_ahead
from pneumo.dicom.zip_archives import ZipMember

FILES = AHEAD + 4


class Requests:
    """What the system was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self._changed = threading.Condition()

    def add(self, descriptor: int, offset: int, length: int, advice: int) -> None:
        assert (offset, advice) == (0, os.POSIX_FADV_WILLNEED)
        with self._changed:
            self.asked.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, length))
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, LONG_S)
            return [name for name, _ in self.asked]


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    found = Requests()
    monkeypatch.setattr(os, "posix_fadvise", found.add)
    return found


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02d}" for number in range(FILES)]
    for path in paths:
        path.write_bytes(b"x")
    return paths


def thread() -> threading.Thread | None:
    return next((found for found in threading.enumerate() if found.name == "read-ahead"), None)


def test_each_file_that_is_begun_lets_the_system_read_one_more(requests: Requests, files: list[Path]) -> None:
    names = [path.name for path in files]
    with reading_ahead(files, 512) as next_file:
        assert requests.wait_for(AHEAD) == names[:AHEAD]
        for number in range(AHEAD + 1, FILES + 1):
            next_file()
            assert requests.wait_for(number) == names[:number]
        for _ in range(AHEAD):
            next_file()
    assert requests.asked == [(name, 512) for name in names]


def test_nothing_more_is_asked_for_once_the_files_are_given_up(requests: Requests, files: list[Path]) -> None:
    with reading_ahead(files):
        requests.wait_for(AHEAD)
        asking = thread()
    assert asking is not None
    asking.join(LONG_S)
    assert not asking.is_alive()
    assert len(requests.asked) == AHEAD


def test_what_cannot_be_opened_is_left_to_its_reader(requests: Requests, files: list[Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    member = ZipMember(tmp_path / "archive.zip", 0, "x.dcm")
    others = [tmp_path / "missing", tmp_path / "fifo", tmp_path / "device", tmp_path, member]
    with reading_ahead([*others, files[0]]):
        assert requests.wait_for(1) == [files[0].name]


def test_files_are_read_without_a_thread_where_none_can_start(
    requests: Requests, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    before = threading.stack_size()
    with reading_ahead(files) as next_file:
        next_file()
    assert not requests.asked
    assert threading.stack_size() == before


def test_the_thread_takes_little_of_the_memory_of_a_file(
    requests: Requests, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, sizes = threading.Thread.start, []

    def note(started: threading.Thread) -> None:
        sizes.append(threading.stack_size())
        start(started)

    monkeypatch.setattr(read_ahead.threading.Thread, "start", note)
    with reading_ahead(files):
        requests.wait_for(AHEAD)
    assert sizes == [1 << 18]
