"""Outputs that would replace inputs, or be written among them."""

import re
from pathlib import Path

import pytest

from pneumo.runtime.errors import UserError
from pneumo.runtime.outputs import check_apart, check_earlier_csv, check_earlier_json


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of images, a CSV with a second name, links to both."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks.csv").write_text("a,-1\n")
    (tmp_path / "same.csv").hardlink_to(tmp_path / "masks.csv")
    (tmp_path / "link.csv").symlink_to("masks.csv")
    (tmp_path / "elsewhere").symlink_to("images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("masks.csv", "--out would replace masks.csv, which --masks reads; expected an output beside the input"),
        ("images/../masks.csv", "--out would replace masks.csv"),
        ("same.csv", "--out would replace masks.csv"),
        ("link.csv", "--out would replace masks.csv"),
        ("images", "--out would replace images, which --dicom reads"),
        ("elsewhere", "--out would replace images"),
        ("images/out", "--out would write images/out in images, which --dicom reads; expected an output outside of it"),
        ("elsewhere/deep/out", "--out would write elsewhere/deep/out in images"),
        ("dataset", "--out replaces what is in dataset/shards, where --old reads dataset/shards/a.csv"),
    ],
)
def test_an_overlap_is_refused_with_both_flags(place: Path, output: str, message: str) -> None:
    inputs = {
        "--masks": Path("masks.csv"),
        "--dicom": [Path("images")],
        "--patients": None,
        "--old": Path("dataset/shards/a.csv"),
    }
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        check_apart("--out", Path(output), inputs, writes=["shards", "table.csv"])


@pytest.mark.parametrize("output", ["new.csv", "images.csv", "images-2/out", "other/masks.csv", "."])
def test_what_is_apart_is_accepted(place: Path, output: str) -> None:
    check_apart("--out", Path(output), {"--masks": Path("masks.csv"), "--dicom": Path("images")}, writes=["shards"])


def test_a_directory_may_hold_an_output_that_the_command_leaves_out(place: Path) -> None:
    check_apart("--out", Path("images/out"), {"--dicom": Path("images")}, inside=["--dicom"])
    with pytest.raises(UserError, match="would replace images"):
        check_apart("--out", Path("images"), {"--dicom": Path("images")}, inside=["--dicom"])


def test_only_an_earlier_csv_of_the_same_columns_is_replaced(place: Path) -> None:
    check_earlier_csv("--out", Path("missing.csv"), ("a", "b"))
    for content in ("", "a,b\n", "a,b\n1,2\n"):
        Path("out.csv").write_text(content)
        check_earlier_csv("--out", Path("out.csv"), ("a", "b"))
    for content in ("a,b", "a,bc\n", "a\n", "1,2\na,b\n"):
        Path("out.csv").write_text(content)
        with pytest.raises(UserError, match=r"--out would replace out\.csv, .*; expected a new file, or a CSV of a,b;"):
            check_earlier_csv("--out", Path("out.csv"), ("a", "b"))
    with pytest.raises(
        UserError, match=r"images: Is a directory; expected a file that can be read; give another --out"
    ):
        check_earlier_csv("--out", Path("images"), ("a", "b"))


def test_only_earlier_json_with_the_same_fields_is_replaced(place: Path) -> None:
    check_earlier_json("--out", Path("missing.json"), ("a", "b"))
    for content in ("", '{"a": 1, "b": []}', '{"b": 1, "a": 2, "c": 3}'):
        Path("out.json").write_text(content)
        check_earlier_json("--out", Path("out.json"), ("a", "b"))
    for content in ('{"a": 1}', '["a", "b"]', "a,b", "\n"):
        Path("out.json").write_text(content)
        with pytest.raises(UserError, match=r"would replace out\.json, .*; expected a new file, or JSON with a, b;"):
            check_earlier_json("--out", Path("out.json"), ("a", "b"))
