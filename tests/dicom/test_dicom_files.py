import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumo.dicom import files
from pneumo.runtime.errors import UserError


def names(root: Path, **options: object) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files.find(root, **options)]


def touch(root: Path, *relative: str) -> None:
    for name in relative:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_every_file_is_listed_in_order_of_posix_path(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.dcm", "a.b", "a/2", ".hidden", "a/.git/x", "no suffix")
    assert names(tmp_path) == sorted([".hidden", "a.b", "a/.git/x", "a/2", "b/1.dcm", "no suffix"])


def test_a_single_file_is_listed_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a.dcm")
    assert files.find(tmp_path / "a.dcm") == [tmp_path / "a.dcm"]
    assert files.find(tmp_path / "a.dcm", exclude=[tmp_path / "a.dcm"]) == []


def test_excluded_files_and_directories_are_left_out_also_through_links(tmp_path: Path) -> None:
    touch(tmp_path, "masks.csv", "out/x.tar", "a.dcm")
    (tmp_path / "link.csv").symlink_to(tmp_path / "masks.csv")
    assert names(tmp_path, exclude=[tmp_path / "masks.csv", tmp_path / "out"]) == ["a.dcm"]


def test_a_linked_directory_is_followed_once_and_loops_end(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(root, "z/1")
    touch(outside, "2")
    (root / "a-link-to-z").symlink_to(root / "z")
    (root / "z" / "up").symlink_to(root)
    (root / "b").symlink_to(outside)
    (root / "c").symlink_to(outside)
    (root / "self").symlink_to(root / "self")
    assert names(root) == ["b/2", "self", "z/1"]


def test_special_files_are_listed_too(tmp_path: Path) -> None:
    touch(tmp_path, "1")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(tmp_path / "1")
    assert names(tmp_path) == ["1", "dangling", "fifo", "link"]


def test_a_directory_that_cannot_be_listed_is_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1", "closed/2", "z/3")

    def list_it(directory: Path) -> Iterator[os.DirEntry[str]]:
        if Path(directory).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(directory)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", list_it)
    assert names(tmp_path) == ["a/1", "closed", "z/3"]


@pytest.mark.parametrize("name", ["missing", "-", "pipe", "a/x", "/dev/null"])
def test_what_is_no_file_and_no_directory_is_a_user_error(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    touch(tmp_path, "a")
    found = "No such file or directory" if name in ("missing", "-") else "neither a file nor a directory"
    expected = f"{found}; expected a DICOM, PNG or JPEG file, a zip archive or a directory; check the path"
    for list_it in (files.find, files.check):
        with pytest.raises(UserError, match=expected):
            list_it(tmp_path / name)


def test_a_directory_that_may_not_be_listed_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"Permission denied; expected a file, or a directory whose .* its permissions"):
        files.check(tmp_path)


def test_a_directory_is_left_out_also_where_the_root_or_the_way_to_it_is_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "real", "out/x.tar", "a/1", "a/masks.csv")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "way").symlink_to(tmp_path / "real" / "a")
    exclude = [tmp_path / "root" / "out", tmp_path / "root" / "way" / "masks.csv"]
    assert names(tmp_path / "root", exclude=exclude) == ["a/1"]


def test_the_current_directory_is_listed_without_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "b", "a/1")
    monkeypatch.chdir(tmp_path)
    assert files.find(Path()) == [Path("a/1"), Path("b")]
    assert files.find(Path(), exclude=[Path("b")]) == [Path("a/1")]
