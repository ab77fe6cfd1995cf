"""Locks between processes."""

import errno
import fcntl
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pneumo.runtime import locks
from pneumo.runtime.errors import UserError

HOLDER = "import sys, time\nfrom pathlib import Path\nfrom pneumo.runtime import locks\n"
HOLDER += "with locks.hold(Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(100)\n"


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    process = holder(path)
    refused = pytest.raises(UserError, match=rf"another process works on fold 3 \(process {process.pid} on .*, since ")
    with refused, locks.hold(path, "fold 3", wait_s=0.2):
        raise AssertionError("held twice")
    process.kill()
    process.communicate()


def test_a_process_that_waits_is_told_of_the_other_one(tmp_path: Path) -> None:
    path, told = tmp_path / ".lock", list[str]()
    process = holder(path)

    def waiting(owner: str) -> None:
        told.append(owner)
        process.kill()
        process.wait()

    with locks.hold(path, "it", waiting=waiting):
        pass
    assert told[0].startswith(f"process {process.pid} on ")
    assert len(told) == 1
    process.communicate()


def test_a_lock_is_held_while_another_process_lives(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not locks.is_held(path)
    assert not locks.is_left_behind(path)
    process = holder(path)
    assert locks.is_held(path)
    assert not locks.is_left_behind(path)
    process.kill()
    process.communicate()
    assert locks.is_left_behind(path), "killed, it removed nothing"
    assert not locks.is_held(path)


@pytest.mark.parametrize("is_link", [True, False])
def test_a_file_that_is_no_lock_is_left_alone(tmp_path: Path, is_link: bool) -> None:
    path, theirs = tmp_path / ".lock", tmp_path / "precious"
    theirs.write_text("notes")
    if is_link:
        path.symlink_to(theirs)
    else:
        theirs.rename(path)
        theirs = path
    with pytest.raises(UserError, match=f"{path} is no lock"), locks.hold(path, "it"):
        raise AssertionError("held")
    assert theirs.read_text() == "notes"


def test_the_message_names_the_other_jobs_number(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locks.hold(path, "it", job="Slurm job 4711"):
        refused = pytest.raises(UserError, match=r"process works on it \(process \d+ on .*, Slurm job 4711, since ")
        with refused, locks.hold(path, "it", wait_s=0):
            raise AssertionError("held twice")


def test_a_lock_is_released_when_its_owner_dies(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = holder(path)
    threading.Timer(0.5, process.send_signal, [signal.SIGKILL]).start()
    with locks.hold(path, "it"):
        assert process.wait(10) == -signal.SIGKILL
    assert not path.exists()


def test_holders_follow_each_other_and_are_never_two(tmp_path: Path) -> None:
    path, inside, seen = tmp_path / ".lock", [], []

    def work(number: int) -> None:
        with locks.hold(path, "it", wait_s=60):
            inside.append(number)
            seen.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=[n]) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 12
    assert not path.exists()


def test_a_file_system_without_locks_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(locks, "_warned", set())
    for name in ("first", "second"):
        with locks.hold(tmp_path / name / ".lock", "it"):
            pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'first'}: this file system has no locks; nothing stops a second process from working here"
    ]


def test_a_directory_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), locks.hold(tmp_path / "file" / ".lock", "it"):
        pass


def test_a_directory_that_is_a_link_to_nowhere_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), locks.hold(tmp_path / "link" / ".lock", "it", wait_s=5):
        pass


def test_a_full_disk_is_an_error_that_names_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks.os, "pwrite", full)
    with pytest.raises(OSError, match="No space left") as caught, locks.hold(tmp_path / "run" / ".lock", "it"):
        pass
    assert caught.value.filename == str(tmp_path / "run" / ".lock")
    assert not (tmp_path / "run" / ".lock").exists()
    monkeypatch.undo()
    with locks.hold(tmp_path / "run" / ".lock", "it", wait_s=0):
        pass


def test_a_place_where_no_directory_can_be_made_is_refused() -> None:
    with (
        pytest.raises(UserError, match=r"^/proc/none cannot be created; expected a place where directories can"),
        locks.hold(Path("/proc/none/.lock"), "it"),
    ):
        raise AssertionError("held")
