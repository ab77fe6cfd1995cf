"""Results replace earlier results, and nothing that anybody else wrote or changed."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import cast

import pytest

from pneumo.runtime import result_directory
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import sha256
from pneumo.runtime.result_directory import RECORD

WRITTEN = ("table.csv", "list.csv", "pictures")


def stage(root: Path, **contents: str) -> Path:
    staged = root / "staged"
    staged.mkdir()
    for name, text in contents.items():
        path = staged / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return staged


def files(directory: Path) -> dict[str, str]:
    found = (path for path in directory.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(directory).as_posix(): path.read_text() for path in found}


def publish(tmp_path: Path, **contents: str) -> Path:
    out = tmp_path / "out"
    staged = stage(tmp_path, **contents)
    try:
        result_directory.publish(staged, out)
    finally:
        for path in sorted(staged.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        staged.rmdir()
    return out


def test_new_results_replace_all_of_the_earlier_ones_and_nothing_else(tmp_path: Path) -> None:
    out = publish(tmp_path, table_csv="1", pictures__a_png="a", pictures__b_png="b")
    (out / "pictures" / "mine.png").write_text("mine")
    (out / "notes.txt").write_text("mine")
    result_directory.check(out, WRITTEN)
    publish(tmp_path, table_csv="2", pictures__b_png="B")
    expected = {"table.csv": "2", "pictures/b.png": "B", "pictures/mine.png": "mine", "notes.txt": "mine"}
    assert files(out) == expected
    result_directory.check(out, WRITTEN)


@pytest.mark.parametrize("name", ["table.csv", "pictures/a.png"])
def test_what_was_changed_by_hand_is_refused(tmp_path: Path, name: str) -> None:
    out = publish(tmp_path, table_csv="1", pictures__a_png="a")
    (out / name).write_text("corrected")
    with pytest.raises(UserError, match=rf"changed since a prediction wrote it into {out}: 1 \({name}\); expected"):
        result_directory.check(out, WRITTEN)
    (out / name).unlink()
    result_directory.check(out, WRITTEN)


def test_what_is_of_another_origin_is_refused(tmp_path: Path) -> None:
    result_directory.check(tmp_path / "missing", WRITTEN)
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").touch()
    result_directory.check(out, WRITTEN)
    (out / "pictures").mkdir()
    (out / "list.csv").touch()
    with pytest.raises(UserError, match=r"has list\.csv, pictures of another origin, which would be replaced"):
        result_directory.check(out, WRITTEN)


def test_what_is_changed_while_the_results_are_made_stays(tmp_path: Path) -> None:
    out = publish(tmp_path, table_csv="1", pictures__a_png="a")
    (out / "pictures" / "a.png").write_text("corrected")
    (out / "pictures" / "b.png").write_text("mine")
    with pytest.raises(UserError, match=r"has 1 \(pictures/b\.png\) of another origin"):
        publish(tmp_path, table_csv="2", pictures__b_png="b")
    assert files(out) == {"table.csv": "2", "pictures/a.png": "corrected", "pictures/b.png": "mine"}


def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path) -> None:
    out = publish(tmp_path, table_csv="1")
    (tmp_path / "elsewhere").mkdir()
    (out / "pictures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"pictures of another origin"):
        result_directory.check(out, WRITTEN)
    (out / "pictures").unlink()
    (out / "table.csv").rename(tmp_path / "moved.csv")
    (out / "table.csv").symlink_to(tmp_path / "moved.csv")
    with pytest.raises(UserError, match=r"changed since a prediction wrote it"):
        result_directory.check(out, WRITTEN)


def test_a_publication_that_was_killed_is_known_as_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = publish(tmp_path, list_csv="1", table_csv="1")
    replace, calls = Path.replace, []

    def killed_at_the_second(self: Path, target: Path) -> Path:
        if self.parent.name == "staged":
            calls.append(self)
            if len(calls) == 2:
                raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path, list_csv="2", table_csv="2")
    assert files(out) == {"list.csv": "2", "table.csv": "1"}
    result_directory.check(out, WRITTEN)
    publish(tmp_path, list_csv="3", table_csv="3")
    assert files(out) == {"list.csv": "3", "table.csv": "3"}


def test_a_record_names_nothing_outside(tmp_path: Path) -> None:
    out = publish(tmp_path, table_csv="1")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    digest = sha256(secret)
    with (out / RECORD).open("a") as file:
        file.write(f"{digest}  ../secret.txt\n{digest}  {secret}\n")
    publish(tmp_path, table_csv="2")
    assert secret.read_text() == "secret"


class Stopped(BaseException):
    """In place of the exit that a signal's handler raises."""


@pytest.fixture(params=["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def stop(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Send a signal whose handler raises, which another thread takes, as if this one had blocked it."""
    number, over = signal.Signals[request.param], threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    def stop() -> None:
        signal.pthread_kill(cast("int", other.ident), number)
        time.sleep(0.1)

    before = signal.signal(number, leave)
    other = threading.Thread(target=over.wait)
    other.start()
    yield stop
    over.set()
    other.join()
    assert signal.signal(number, before) is leave


def test_a_signal_waits_until_all_results_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Callable[[], None]
) -> None:
    names = [f"pictures__{letter}_png" for letter in "abcdefgh"]
    out = publish(tmp_path, **dict.fromkeys(names, "old"))
    replace = Path.replace

    def signaled(self: Path, target: Path) -> Path:
        if target.name == "c.png":
            stop()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", signaled)
    with pytest.raises(Stopped, match="SIG"):
        publish(tmp_path, **dict.fromkeys(names, "new"))
    assert set(files(out).values()) == {"new"}
    result_directory.check(out, WRITTEN)


def test_another_thread_can_publish(tmp_path: Path) -> None:
    thread = threading.Thread(target=publish, args=[tmp_path], kwargs={"table_csv": "1"})
    thread.start()
    thread.join()
    assert files(tmp_path / "out") == {"table.csv": "1"}
