import hashlib
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pydicom
import pytest
from command_driver import call
from job_commands import warm
from pydicom.encaps import get_frame
from shard_inputs import call_shard, write_image
from waiting import LONG_S

from pneumo.dataset.paths import MANIFEST
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.masks import annotations

JOB = Path(__file__).parents[2] / "job" / "shard.py"
SIIM = Path(os.environ.get("PNEUMO_SIIM_DIR", "/nonexistent"))


def shard(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(JOB.parents[1])}
    return subprocess.run(
        [*warm(), str(JOB), *map(str, arguments)],
        env=environment, cwd=cwd, capture_output=True, text=True, timeout=LONG_S, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("job")
    (root / "train").mkdir()
    lines = ["ImageId, EncodedPixels"]
    for number in range(8):
        image_id = f"1.2.826.0.1.3680043.8.498.{number + 1}"
        path = root / "train" / f"{image_id}.dcm"
        write_image(path, np.full((32, 32), 20 * number, np.uint8), image_id, f"p{number // 2}", syntax="jpeg")
        lines.append(f"{image_id}, {'-1' if number % 2 else '0 40'}")
    (root / "masks.csv").write_text("\n".join(lines) + "\n")
    (root / "train" / "notes.txt").write_text("no image")
    return root


def test_the_competition_as_pictures_is_a_dataset(tmp_path: Path) -> None:
    lines, pictures = ["ImageId, EncodedPixels"], dict[str, bytes]()
    (tmp_path / "pictures").mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40), np.uint8)
        written = cv2.imencode(".jpg" if number % 2 else ".png", pixels)[1].tobytes()
        # A JPEG and a PNG under the endings of others are found by their content.
        name = ("a.png", "b.jpeg", "c.PNG", "d", "e.dcm", "f.dcm", "g.png", "h.JPG")[number]
        (tmp_path / "pictures" / name).write_bytes(written)
        pictures[name.partition(".")[0]] = written
        # Masks CSVs name pictures with and without their endings.
        lines.append(f"{name}, {'-1' if number % 2 else '0 40'}")
    (tmp_path / "masks.csv").write_text("\n".join(lines) + "\n")
    done = shard("--dicom", "pictures", "--masks", "masks.csv", "--out", "out", "--num-folds", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 files found = 8 samples + 0 quarantined + 0 left out + 0 unlabeled")
    assert done.stderr.count("8 images are PNG or JPEG files, without a header") == 1
    reader = ShardReader(tmp_path / "out", SampleTable.read(tmp_path / "out"))
    assert {str(reader.table.image_id[row]): reader.image(row) for row in range(8)} == pictures
    assert set(reader.table.transfer_syntax) == {""}
    assert (reader.table.patient == -1).all()


def test_prints_the_sum_also_for_a_finished_dataset(tree: Path, tmp_path: Path) -> None:
    arguments = ["--dicom", "train", "--masks", "masks.csv", "--out", tmp_path / "out", "--num-folds", 2]
    arguments += ["--max-quarantined", 20]
    first = shard(*arguments, cwd=tree)
    assert first.returncode == 0, first.stderr
    assert "9 files found = 8 samples + 1 quarantined + 0 left out + 0 unlabeled + 0 merged duplicates" in first.stdout
    assert "8 training images: 4 positive, 4 patients (by PatientID), 2 folds; 1 shard\n" in first.stdout
    again = shard(*arguments, cwd=tree)
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert "already built" in again.stderr


def test_memory_that_arrow_frees_goes_back_to_the_system(tree: Path, tmp_path: Path) -> None:
    before = pa.default_memory_pool()
    try:
        code, out, _ = call_shard("--dicom", tree / "train", "--masks", tree / "masks.csv", "--out", tmp_path / "out",
                                  "--max-quarantined", 20)  # fmt: skip
        assert (code, "8 training images" in out) == (0, True)
        assert pa.default_memory_pool().backend_name == "system"
    finally:
        pa.set_memory_pool(before)


def test_a_temporary_directory_with_too_long_a_path_is_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / ("temporary-" * 12)
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    done = shard("--dicom", tree / "train", "--masks", tree / "masks.csv", "--out", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith("; set TMPDIR, for example to /tmp")
    assert f"a path of {len(str(directory))} bytes: " in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.delenv("TMPDIR")
    again = shard("--dicom", tree / "train", "--masks", tree / "masks.csv", "--out", tmp_path / "out",
                  "--max-quarantined", 20, "--num-folds", 2)  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_tasks_finish_together(tree: Path, tmp_path: Path) -> None:
    arguments = ["--dicom", tree / "train", "--masks", tree / "masks.csv", "--out", tmp_path / "out"]
    arguments += ["--max-quarantined", 20, "--num-folds", 2]
    other = shard(*arguments, "--task", "1/2")
    assert other.returncode == 0, other.stderr
    assert "still missing are 1 of 1 shard " in other.stderr
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert shard(*arguments, "--task", "0/2").returncode == 0
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["samples"] == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "4/4"], "--task 4/4; expected I/N with I from 0 to N - 1"),
        (["--task", "half"], "--task half"),
        (["--num-folds", "1"], "num-folds 1; expected 2 to 127"),
        (["--masks", "nowhere.csv"], "nowhere.csv"),
    ],
    ids=["task beyond", "no task", "folds", "masks"],
)
def test_wrong_input_is_one_line_and_code_2(tree: Path, tmp_path: Path, arguments: list, message: str) -> None:
    given = ["--dicom", tree / "train", "--out", tmp_path / "out", *arguments]
    code, _, errors = call("shard", list(map(str, given)))
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors


def test_more_folds_than_patients_are_refused_before_a_shard_is_written(tree: Path, tmp_path: Path) -> None:
    arguments = ["--dicom", tree / "train", "--masks", tree / "masks.csv", "--out", tmp_path / "out"]
    ended = shard(*arguments, "--num-folds", 5)
    assert ended.returncode == 2
    assert "--num-folds 5, and 4 PatientIDs in 8 training images" in ended.stderr
    assert not (tmp_path / "out").exists()
    arguments += ["--max-quarantined", 20]
    assert shard(*arguments, "--num-folds", 4).returncode == 0
    before = (tmp_path / "out" / MANIFEST).read_bytes()
    assert shard(*arguments, "--num-folds", 5).returncode == 2
    assert (tmp_path / "out" / MANIFEST).read_bytes() == before


def test_test_images_that_cannot_be_used_are_no_dataset_without_test_images(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    words = ["--dicom", tree / "train", "--masks", tree / "masks.csv", "--out", tmp_path / "out"]
    code, _, errors = call_shard(*words, "--max-quarantined", 20, "--test-dicom", tmp_path / "test")
    assert code == 2
    assert "no usable image in 0 files; expected images to predict; check the directory of the test" in errors


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version(flag: str) -> None:
    code, output, _ = call("shard", [flag])
    assert code == 0
    assert ("--test-dicom" if flag == "--help" else "0.") in output


@pytest.mark.siim
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.skipif(not SIIM.is_dir(), reason="PNEUMO_SIIM_DIR is not set")
def test_real_images_pass_through_bit_for_bit(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    dev = SIIM / "dev"
    ended = shard(
        "--dicom", dev / "dicom", "--masks", dev / "train-rle.csv", "--patients", dev / "patients.csv",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "967 files found = 967 samples + 0 quarantined + 0 left out + 0 unlabeled + 0 merged" in ended.stdout
    table = SampleTable.read(tmp_path / "out")
    assert len(table) == 967

    reader = ShardReader(tmp_path / "out", table)
    row_of = {image_id: row for row, image_id in enumerate(table.image_id.tolist())}
    for path in (dev / "dicom").rglob("*.dcm"):
        source = pydicom.dcmread(path)
        frame = get_frame(source.PixelData, 0, number_of_frames=1)
        row = row_of[source.SOPInstanceUID]
        assert reader.image(row) == frame
        assert hashlib.sha256(frame).hexdigest() == table.sha256[row].decode()

    texts: dict[str, list[str]] = {}
    for line in (dev / "train-rle.csv").read_text().splitlines()[1:]:
        image_id, text = (word.strip() for word in line.split(","))
        texts.setdefault(image_id, []).append(text)
    for image_id, row in row_of.items():
        if texts[image_id] == ["-1"]:
            assert (reader.rle(row), table.mask_area[row]) == ("-1", 0)
            continue
        mask = np.maximum.reduce([decode_with(coco, text) for text in texts[image_id]])
        np.testing.assert_array_equal(decode_with(coco, reader.rle(row)), mask)
        assert table.mask_area[row] == mask.sum()
    assert table.positive.sum() == 215

    patients = annotations.read_patients(dev / "patients.csv")
    folds_of: dict[str, set[int]] = {}
    for image_id, row in row_of.items():
        folds_of.setdefault(patients[image_id], set()).add(int(table.fold[row]))
    assert len(folds_of) == 799
    assert all(len(folds) == 1 for folds in folds_of.values())


def decode_with(coco: object, text: str, pixels: int = 1024) -> np.ndarray:
    """Decode by COCO's library: Kaggle's text is COCO's uncompressed counts without the last zero-run."""
    counts = [int(word) for word in text.split()]
    counts.append(pixels * pixels - sum(counts))
    encoded = coco.frPyObjects({"size": [pixels, pixels], "counts": counts}, pixels, pixels)
    return coco.decode(encoded)
