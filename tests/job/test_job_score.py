"""job/score.py from its flags to its exit code."""

import contextlib
import csv
from pathlib import Path
from typing import NamedTuple

import pytest
from command_driver import call

from pneumo.masks import rle
from pneumo.masks.annotations import read_masks
from pneumo.runtime.files import publish_csv
from pneumo.synthetic.tree import SyntheticTree

TRUTH = "\ufeffImageId, EncodedPixels\na.dcm, -1\nb.dcm, 0 2\nb.dcm, 1 3\nc.dcm, -1\n"
SUBMISSION = "ImageId,EncodedPixels\nc,7 1\nb,2 4\na,-1\n"


class Ended(NamedTuple):
    returncode: object
    stdout: str
    stderr: str


def score(directory: Path, *flags: object) -> Ended:
    """Run the command in this process from ``directory``."""
    with contextlib.chdir(directory):
        return Ended(*call("score", [*map(str, flags)]))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "truth.csv").write_text(TRUTH)
    (tmp_path / "submission.csv").write_text(SUBMISSION)
    return tmp_path


def test_any_variant_on_either_side_from_any_directory(files):
    done = score(files, "--truth", "truth.csv", "--submission", "submission.csv", "--out", "new/per_image.csv")
    assert done.returncode == 0, done.stderr
    table = {line[:24].strip(): line[24:].split() for line in done.stdout.splitlines()}
    assert table == {
        "": ["value", "images"],
        "Dice, all images": ["0.5000", "3"],
        "Dice, no pneumothorax": ["0.5000", "2"],
        "Dice, pneumothorax": ["0.5000", "1"],
        "sensitivity": ["1.0000", "1"],
        "specificity": ["0.5000", "2"],
        "Dice of all empty masks": ["0.6667", "3"],
    }
    with (files / "new/per_image.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["ImageId", "dice", "truth_area", "predicted_area"],
            ["a", "1.000000", "0", "0"],
            ["b", "0.500000", "4", "4"],
            ["c", "0.000000", "0", "1"],
        ]


@pytest.mark.parametrize("content", ["ImageId,EncodedPixels\na,-1\n", "precious", "ImageId,dice"])
def test_only_an_earlier_result_is_replaced(files: Path, content: str) -> None:
    words = ("--truth", "truth.csv", "--submission", "submission.csv", "--out", "out.csv")
    out = files / "out.csv"
    out.write_text(content)
    refused = score(files, *words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--out would replace out.csv, which is no earlier result of this command; expected a new file" in (
        refused.stderr
    )
    assert out.read_text() == content
    # An empty file, as of mktemp, and an earlier result.
    for earlier in ("", "ImageId,dice,truth_area,predicted_area\nold,1.000000,0,0\n"):
        out.write_text(earlier)
        assert score(files, *words).returncode == 0
        assert [line.partition(",")[0] for line in out.read_text().splitlines()] == ["ImageId", "a", "b", "c"]


def test_missing_predictions(files):
    (files / "submission.csv").write_text("c,-1\nb,2 4\nx,0 1\n")
    flags = ("--truth", "truth.csv", "--submission", "submission.csv")
    refused = score(files, *flags, "--out", "per_image.csv")
    assert refused.returncode == 2
    assert "without a prediction: 1 (a); predictions without a truth: 1 (x)" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert not (files / "per_image.csv").exists()

    empty = score(files, *flags, "--missing", "empty")
    assert empty.returncode == 0
    assert "1 image without a prediction: taken as empty" in empty.stderr
    assert "1 prediction without a truth: left out" in empty.stderr
    assert empty.stdout.splitlines()[1].split()[-2:] == ["0.8333", "3"]

    ignored = score(files, *flags, "--missing", "ignore")
    assert ignored.returncode == 0
    assert "1 image without a prediction: left out" in ignored.stderr
    assert ignored.stdout.splitlines()[1].split()[-2:] == ["0.7500", "2"]


def test_a_part_without_images_is_a_dash(files):
    (files / "truth.csv").write_text("a,-1\nb,-1\nc,-1\n")
    done = score(files, "--truth", "truth.csv", "--submission", "submission.csv")
    assert done.returncode == 0
    assert done.stdout.splitlines()[3].split()[-2:] == ["-", "0"]


def test_a_bad_file_is_one_line_and_exit_code_2(files):
    (files / "submission.csv").write_text("ImageId,EncodedPixels\na,-1\nb,1 2 3\n")
    done = score(files, "--truth", "truth.csv", "--submission", "submission.csv")
    assert done.returncode == 2
    assert "submission.csv line 3: the mask of image b is malformed: an odd count" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_masks_of_another_size_are_found_with_the_dataset_of_the_images(
    dataset: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    words = ("--truth", synthetic.masks, "--submission", tmp_path / "s.csv", "--dataset", dataset)
    masks = read_masks(synthetic.masks)
    worst = next(image_id for image_id, text in masks.items() if text != rle.EMPTY)

    def submit(masks: dict[str, str]) -> Ended:
        publish_csv(tmp_path / "s.csv", ("ImageId", "EncodedPixels"), masks.items())
        return score(tmp_path, *words)

    right = submit(masks)
    assert (right.returncode, right.stderr) == (0, ""), right.stderr
    beyond = submit(masks | {worst: "99999999 1"})
    assert (beyond.returncode, beyond.stdout) == (2, "")
    assert (
        f"s.csv: 1 of {len(masks)} masks beyond the end of the image, worst {worst}: it ends at pixel" in beyond.stderr
    )
    other = score(tmp_path, *words[:2], "--submission", synthetic.masks, "--dataset", tmp_path)
    assert (other.returncode, other.stdout) == (2, "")
    assert "no dataset.json" in other.stderr


def test_masks_of_another_size_are_said_without_a_dataset(files: Path) -> None:
    (files / "submission.csv").write_text("a,-1\nb,2 4\nc,1048576 1\n")
    done = score(files, "--truth", "truth.csv", "--submission", "submission.csv")
    assert done.returncode == 0
    assert "1 prediction ends beyond an image of SIIM-ACR, and no true mask does, worst c" in done.stderr


def test_help_and_version(tmp_path):
    shown = score(tmp_path, "--help")
    assert shown.returncode == 0
    assert all(flag in shown.stdout for flag in ("--truth", "--submission", "--out", "--missing"))
    assert score(tmp_path, "--version").stdout.startswith("job/score.py ")
    assert score(tmp_path).returncode == 2
