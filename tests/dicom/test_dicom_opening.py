"""Paths that the operating system refuses, and those that are not regular files."""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reference_files as reference

from pneumo.dicom import image_file
from pneumo.dicom.rejection import FileRejectedError, Reason

VALUES = reference.gradient("u2", 12)


def whole(tmp_path: Path, name: str = "1.2.3.dcm", **more: Any) -> Path:
    return reference.save(reference.build(VALUES, 12, **more), tmp_path / name)


@pytest.mark.parametrize("use", [image_file.scan, image_file.read])
def test_what_the_operating_system_refuses_is_unreadable(tmp_path: Path, use: Callable[[Path], object]) -> None:
    for path, found in (
        (tmp_path, "a directory"),
        (tmp_path / "missing", "No such file or directory"),
    ):
        with pytest.raises(FileRejectedError, match=found) as caught:
            use(path)
        assert (caught.value.reason, caught.value.phase) == (Reason.UNREADABLE, "open")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = whole(tmp_path)
    path.chmod(0)
    with pytest.raises(FileRejectedError, match="Permission denied"):
        image_file.read(path)


def special(path: Path) -> dict[Path, str]:
    """Create one of each kind of special file, and return how each is described."""
    os.mkfifo(path / "fifo")
    (path / "device").symlink_to("/dev/zero")
    (path / "dangling").symlink_to("nowhere")
    (path / "itself").symlink_to("itself")
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(path):
        bound.bind("socket")
    kinds = {"fifo": "a FIFO", "device": "a device", "socket": "a socket"}
    kinds |= dict.fromkeys(("dangling", "itself"), "a dangling link")
    return {path / name: kind for name, kind in kinds.items()}


@pytest.mark.parametrize("use", [image_file.scan, image_file.read])
def test_special_files_are_refused_without_being_opened(
    tmp_path: Path, use: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    for path, kind in special(tmp_path).items():
        with pytest.raises(FileRejectedError, match=f"^{kind};") as caught:
            use(path)
        assert (caught.value.reason, caught.value.phase) == (Reason.NOT_A_FILE, "open")
