"""Which input files there are, and what their headers say."""

import os
from pathlib import Path

import pytest
from build_data import write_one

from pneumo.dataset import scan
from pneumo.dataset.scan import QuarantineRow, ScannedFile, Source
from pneumo.dicom import opening
from pneumo.dicom.rejection import Reason
from pneumo.runtime.errors import UserError


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for name in ("train/b.dcm", "train/a/c.dcm", "train/masks.csv", "test/d.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("no image")
    return tmp_path


def found(sources: list[Source]) -> list[tuple[str, str]]:
    return [(source.split, source.file) for source in sources]


def test_training_files_come_first_each_split_by_path(inputs: Path) -> None:
    sources = scan.find(inputs / "train", inputs / "test", labeled=True, exclude=[inputs / "train" / "masks.csv"])
    assert found(sources) == [("train", "a/c.dcm"), ("train", "b.dcm"), ("test", "d.dcm")]
    assert [source.path for source in sources] == [inputs / s.split / s.file for s in sources]


def test_without_labels_every_file_is_a_test_image(inputs: Path) -> None:
    sources = scan.find(inputs / "train", None, labeled=False, exclude=[])
    assert found(sources) == [("test", "a/c.dcm"), ("test", "b.dcm"), ("test", "masks.csv")]


def test_a_directory_inside_the_other_is_listed_once(inputs: Path) -> None:
    sources = scan.find(inputs, inputs / "test", labeled=True, exclude=[])
    assert found(sources)[-1] == ("test", "d.dcm")
    assert [file for split, file in found(sources) if split == "train"] == [
        "train/a/c.dcm", "train/b.dcm", "train/masks.csv",
    ]  # fmt: skip


def test_a_single_file_is_named_by_its_name(inputs: Path) -> None:
    assert found(scan.find(inputs / "test" / "d.dcm", None, labeled=True, exclude=[])) == [("train", "d.dcm")]


def test_a_missing_directory_and_the_same_one_twice_are_refused(inputs: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such file or directory"):
        scan.find(inputs / "train", inputs / "nowhere", labeled=True, exclude=[])
    (inputs / "link").symlink_to(inputs / "train")
    with pytest.raises(UserError, match="given both as training and as test images; expected two directories"):
        scan.find(inputs / "train", inputs / "link", labeled=True, exclude=[])


def test_a_csv_given_as_the_images_is_refused(inputs: Path) -> None:
    masks = inputs / "train" / "masks.csv"
    with pytest.raises(UserError, match=r"masks\.csv given as images and as a CSV; expected an image file or a dir"):
        scan.find(masks, None, labeled=True, exclude=[inputs / "none.csv", masks])


def test_header_of_an_image_and_of_what_is_none(tmp_path: Path) -> None:
    write_one(tmp_path / "image.dcm", "1.2.3")
    (tmp_path / "page.dcm").write_text("<html>")
    os.mkfifo(tmp_path / "pipe")
    names = ["image.dcm", "page.dcm", "pipe", "gone.dcm"]
    image, *others = scan.scan_files([Source("train", tmp_path, name) for name in names])
    state = (tmp_path / "image.dcm").stat()
    assert image == ScannedFile(
        Source("train", tmp_path, "image.dcm"), "1.2.3", "p", "image", state.st_size, state.st_mtime_ns
    )
    assert all(isinstance(row, QuarantineRow) and not row.image_id for row in others)
    assert [row.file for row in others] == names[1:]
    assert [row.reason for row in others[:2]] == [Reason.UNKNOWN_FORMAT, Reason.NOT_A_FILE]
    assert others[2].reason in (Reason.UNREADABLE, Reason.NOT_A_FILE)


def test_row_of_a_file_that_cannot_be_read_has_what_the_system_says() -> None:
    rejected = opening.unreadable(PermissionError(13, "Permission denied"))
    row = scan.quarantine_row(Source("test", Path("/in"), "a"), "1.2", rejected)
    assert row == QuarantineRow(
        "test", "a", "1.2", Reason.UNREADABLE, "open", "Permission denied", "a readable file",
        "check its permissions, the disk and the mount, and start the same command again",
    )  # fmt: skip
