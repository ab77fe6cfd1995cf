"""Publishing: the old version stays until the new one is complete."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo.runtime.errors import UserError
from pneumo.runtime.files import check_target, publish, publish_directory, publish_text, remove_temporary_files


def test_a_file_appears_complete_and_with_the_usual_mode(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "metrics.json"
    publish_text(target, "é\n")
    assert target.read_bytes() == "é\n".encode()
    (tmp_path / "other").touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_an_error_while_writing_leaves_the_old_version_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "submission.csv"
    publish_text(target, "old")
    with pytest.raises(KeyboardInterrupt), publish(target) as file:
        file.write(b"half of the new")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_readers_see_the_old_version_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "recipe.json"
    publish_text(target, "old")
    with publish(target) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_a_directory_appears_with_all_its_files(tmp_path: Path) -> None:
    target = tmp_path / "step-1"
    with publish_directory(target) as temporary:
        (temporary / "a").write_text("a")
        assert not target.exists()
    assert (target / "a").read_text() == "a"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_directory_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), publish_directory(tmp_path / "step-1") as temporary:
        (temporary / "a").write_text("a")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_one_target_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = {".env.template", ".s.csv.abcd_123", ".s.csv.pneumo-tmp-abc", "s.csv", ".git.disabled"}
    (tmp_path / ".git.disabled").mkdir()
    for name in kept - {".git.disabled"} | {".s.csv.pneumo-tmp-abcd_123", ".t.csv.pneumo-tmp-abcd_123"}:
        (tmp_path / name).touch()
    remove_temporary_files(tmp_path, "s.csv")
    assert {p.name for p in tmp_path.iterdir()} == kept | {".t.csv.pneumo-tmp-abcd_123"}
    remove_temporary_files(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == kept


def test_what_a_killed_process_leaves_is_removed(tmp_path: Path) -> None:
    killed = (
        "import os, sys; from pathlib import Path; from pneumo.runtime import files\n"
        "with files.publish(Path('s.csv')), files.publish_directory(Path('step-1')):\n    os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", killed], cwd=tmp_path, check=False)
    assert (done.returncode, len(list(tmp_path.iterdir()))) == (9, 2)
    remove_temporary_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_directory_or_device_is_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("folder", "is a directory"), ("pipe", "is not a regular file")):
        with pytest.raises(UserError, match=message):
            publish_text(tmp_path / name, "x")
        with pytest.raises(UserError, match=message):
            check_target(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_targets_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    for fine in ("file", "new", "new/folders/too"):
        check_target(tmp_path / fine)
    wrong = {"file/below": "Not a directory", "link": "is a link", "x" * 300: "too long"}
    for name, message in wrong.items():
        with pytest.raises(UserError, match=message):
            check_target(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
    assert (tmp_path / "file").read_text() == "old"
