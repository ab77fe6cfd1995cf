import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from command_driver import call
from pydicom.encaps import get_frame
from waiting import LONG_S

from pneumo.dataset.paths import MANIFEST
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.masks import annotations, rle
from pneumo.synthetic.dicom_writer import write_dicom

JOB = Path(__file__).parents[2] / "job" / "shard.py"
SIIM = Path(os.environ.get("PNEUMO_SIIM_DIR", "/nonexistent"))


def shard(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(JOB.parents[1])}
    return subprocess.run(
        [sys.executable, str(JOB), *map(str, arguments)],
        env=environment, cwd=cwd, capture_output=True, text=True, timeout=LONG_S, check=False,
    )  # fmt: skip


def write_image(path: Path, pixels: np.ndarray, image_id: str, patient: str, *, syntax: str = "explicit") -> None:
    write_dicom(
        path, pixels, image_id=image_id, patient_id=patient, view="PA", sex="F", age=50, spacing_mm=0.2, syntax=syntax,
        photometric="MONOCHROME2",
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
    assert done.stderr.count("8 images are PNG or JPEG files, which have no header") == 1
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
    assert "8 training images: 4 positive, 4 patients (by PatientID), 2 folds; 1 shards\n" in first.stdout
    again = shard(*arguments, cwd=tree)
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert "already built" in again.stderr


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
    assert "1 of 1 shards are still missing" in other.stderr
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
    assert "--num-folds 5, and 4 PatientID(s) in 8 training images" in ended.stderr
    assert not (tmp_path / "out").exists()
    arguments += ["--max-quarantined", 20]
    assert shard(*arguments, "--num-folds", 4).returncode == 0
    before = (tmp_path / "out" / MANIFEST).read_bytes()
    assert shard(*arguments, "--num-folds", 5).returncode == 2
    assert (tmp_path / "out" / MANIFEST).read_bytes() == before


def write_images(directory: Path, ids: list[str], *, names: list[str] | None = None, patient: str = "p") -> None:
    """Write an image for each id, all different, named after its id by default; ``{}`` in the patient is a number."""
    directory.mkdir()
    for number, (image_id, name) in enumerate(zip(ids, names or ids, strict=True)):
        pixels = np.full((32, 32), 20 * number, np.uint8)
        write_image(directory / f"{name}.dcm", pixels, image_id, patient.format(number))


def write_masks(path: Path, ids: list[str]) -> Path:
    path.write_text("ImageId,EncodedPixels\n" + "".join(f"{image_id},0 40\n" for image_id in ids))
    return path


def call_shard(*words: object) -> tuple[object, str, str]:
    return call("shard", [*map(str, words), "--workers", "1", "--num-folds", "2"])


UIDS = [f"1.2.826.0.1.3680043.8.498.7{number}" for number in range(4)]
NAMES = [f"ID_{number}" for number in range(4)]


def test_masks_that_name_files_are_noticed_and_used_by_a_flag(tmp_path: Path) -> None:
    write_images(tmp_path / "train", UIDS, names=NAMES, patient="p{}")
    write_images(tmp_path / "test", [f"{uid}.9" for uid in UIDS])
    masks = write_masks(tmp_path / "masks.csv", [f"{name}.dcm" for name in NAMES])
    words = ["--dicom", tmp_path / "train", "--test-dicom", tmp_path / "test", "--masks", masks]
    words += ["--out", tmp_path / "out"]
    code, _, errors = call_shard(*words)
    assert code == 2
    assert "no usable image in 4 files (4 no row in the masks CSV)" in errors
    assert "4 unused files are in the masks CSV by their file names, not by their SOPInstanceUIDs" in errors
    assert errors.rstrip().endswith("give --id file-name")
    assert not (tmp_path / "out" / MANIFEST).exists()
    code, output, errors = call_shard(*words, "--id", "file-name")
    assert code == 0, errors
    assert "4 training images: 4 positive" in output
    table = SampleTable.read(tmp_path / "out")
    assert table.image_id.tolist() == [*NAMES, *(f"{uid}.9" for uid in UIDS)]
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["id_source"] == "file-name"
    code, _, errors = call_shard(*words)
    assert code == 2, "the ids are part of what the dataset was built from"
    assert "a dataset of other files" in errors
    assert "and the same --id, --patients, --ignore-patient-id and --include-non-frontal; give the same flags" in errors


def test_images_without_a_uid_are_used_by_their_names(tmp_path: Path) -> None:
    """A de-identification has blanked the SOPInstanceUID of two images of four."""
    write_images(tmp_path / "in", UIDS, names=NAMES, patient="p{}")
    for name in NAMES[:2]:
        dataset = pydicom.dcmread(tmp_path / "in" / f"{name}.dcm")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = ""
        dataset.save_as(tmp_path / "in" / f"{name}.dcm", enforce_file_format=False)
    words = ["--dicom", tmp_path / "in", "--masks", write_masks(tmp_path / "masks.csv", NAMES)]
    words += ["--out", tmp_path / "out"]
    code, _, errors = call_shard(*words)
    assert code == 2
    assert "no usable image in 4 files (2 no_id, 2 no row in the masks CSV)" in errors
    assert errors.rstrip().endswith("give --id file-name")
    assert (tmp_path / "out" / "quarantine.csv").read_text().count(",no SOP Instance UID,") == 2
    code, output, errors = call_shard(*words, "--id", "file-name")
    assert code == 0, errors
    assert "4 files found = 4 samples + 0 quarantined" in output


def test_masks_that_name_uids_are_noticed_with_file_names_as_ids(tmp_path: Path) -> None:
    write_images(tmp_path / "train", UIDS, names=NAMES)
    masks = write_masks(tmp_path / "masks.csv", UIDS)
    code, _, errors = call_shard(
        "--dicom", tmp_path / "train", "--masks", masks, "--out", tmp_path / "out", "--id", "file-name"
    )
    assert code == 2
    assert errors.rstrip().endswith("by their SOPInstanceUIDs, not by their file names: give --id uid")


@pytest.mark.parametrize("labeled", [True, False])
def test_one_uid_in_all_files_is_noticed(tmp_path: Path, labeled: bool) -> None:
    write_images(tmp_path / "in", UIDS[:1] * 4, names=NAMES, patient="p{}")
    words: list[object] = ["--dicom", tmp_path / "in", "--out", tmp_path / "out"]
    words += ["--masks", write_masks(tmp_path / "masks.csv", NAMES)] if labeled else []
    code, _, errors = call_shard(*words)
    assert code == 2
    assert "no usable image in 4 files (4 duplicate)" in errors
    assert "--id file-name" in errors
    code, output, errors = call_shard(*words, "--id", "file-name")
    assert code == 0, errors
    assert "4 files found = 4 samples" in output


def test_odd_content_is_counted_at_the_end(tmp_path: Path) -> None:
    """Files in which nothing is wrong in form: black pictures, masks of another size and with absolute starts."""
    (tmp_path / "in").mkdir()
    y, x = np.mgrid[:200, :160]
    drawn = ((x - 80) ** 2 / 1600 + (y - 100) ** 2 / 2500 < 1).astype(np.uint8)
    texts = [
        rle.encode(drawn),
        rle.encode(np.ascontiguousarray(drawn.T)),  # row-major
        " ".join(f"{start} {length}" for start, length in rle.parse(rle.encode(drawn)).tolist()),
        rle.EMPTY,
        rle.EMPTY,
    ]
    lines = ["ImageId,EncodedPixels", *(f"{uid}9,{text}" for uid, text in zip([*UIDS, "1.2.7"], texts, strict=True))]
    (tmp_path / "masks.csv").write_text("\n".join(lines))
    for number, uid in enumerate([*UIDS, "1.2.7"]):
        picture = np.full((200, 160), 3, np.uint8) if number > 2 else (x + y).astype(np.uint8) % 250
        write_image(tmp_path / "in" / f"{number}.dcm", picture, f"{uid}9", f"p{number}")
    words = ["--dicom", tmp_path / "in", "--masks", tmp_path / "masks.csv", "--out", tmp_path / "out"]
    code, output, errors = call_shard(*words, "--max-quarantined", 100)
    assert code == 0, errors
    assert "2 flat image(s), worst" in errors
    assert "1 of 2 mask(s) probably do not fit their image, the largest" in errors
    assert "as in row-major order of 160 columns" in errors
    assert "4 samples + 1 quarantined" in output
    listed = (tmp_path / "out" / "quarantine.csv").read_text()
    assert "beyond the image's 32000 pixels (200 x 160); its numbers seem to be absolute starts, not gaps" in listed
    assert "masks CSV belongs to these files; write each start as the gap to the end of the run before it" in listed
    again = call_shard(*words, "--max-quarantined", 100)
    assert "2 flat image(s), worst" in again[2], "said again of a finished dataset"


def test_pictures_of_few_bits_are_said_and_masks_among_them_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "in" / "masks").mkdir(parents=True)
    ramp = np.linspace(0, 4095, 32 * 40).astype(np.uint16).reshape(32, 40)
    mask, black = ((ramp > 4000) * 255).astype(np.uint8), np.zeros((32, 40), np.uint8)
    pictures = {"a": ramp, "b": ramp * 16, "c": ramp * 16, "d": ramp // 16, "black": black}
    pictures |= {"masks/a": mask, "masks/b": mask // 255, "masks/c": black, "masks/d_mask": np.dstack([mask] * 3)}
    for name, pixels in pictures.items():
        (tmp_path / "in" / f"{name}.PNG").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    flags = ["--include-non-frontal"]
    code, output, errors = call_shard("--dicom", tmp_path / "in", "--out", tmp_path / "out", *flags)
    assert code == 0, errors
    assert "2 image(s): values use 8 of 16 bits, such as d, to values use 12 of 16 bits, such as a" in errors
    assert "1 image(s): flat image: every pixel has the same level, such as black" in errors
    assert "9 files found = 5 samples + 0 quarantined + 4 left out" in output
    assert "4 pictures are masks, black but for one other level, and are left out: left_out.csv lists them" in errors
    assert "give the directory of the images alone (directories of masks: 1 (masks))" in errors
    assert "no frontal chest" not in errors.replace("it is taken for granted that they show frontal chest X-rays", "")
    listed = (tmp_path / "out" / "left_out.csv").read_text()
    assert listed.count(",mask picture\n") == 4
    code, _, errors = call_shard("--dicom", tmp_path / "in" / "masks", "--out", tmp_path / "none")
    assert code == 2
    assert "no usable image in 4 files (4 mask picture)" in errors
    assert f", and see {tmp_path / 'none' / 'left_out.csv'}\n" in errors, "no flag takes masks"


def test_masks_that_are_all_empty_are_no_good_dataset(tmp_path: Path) -> None:
    write_images(tmp_path / "in", UIDS, patient="p{}")
    (tmp_path / "masks.csv").write_text("ImageId,EncodedPixels\n" + "".join(f"{uid},-1\n" for uid in UIDS))
    code, _, errors = call_shard("--dicom", tmp_path / "in", "--masks", tmp_path / "masks.csv", "--out", tmp_path / "o")
    assert code == 0
    assert "none of 4 training images has a pneumothorax" in errors


def test_test_images_that_cannot_be_used_are_no_dataset_without_test_images(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    words = ["--dicom", tree / "train", "--masks", tree / "masks.csv", "--out", tmp_path / "out"]
    code, _, errors = call_shard(*words, "--max-quarantined", 20, "--test-dicom", tmp_path / "test")
    assert code == 2
    assert "no usable image in 0 files; expected images to predict; check the directory of the test" in errors


def test_one_patient_id_in_all_files_is_said_with_the_flag_that_helps(tmp_path: Path) -> None:
    write_images(tmp_path / "train", UIDS, patient="ANONYMOUS")
    masks = write_masks(tmp_path / "masks.csv", UIDS)
    words = ["--dicom", tmp_path / "train", "--masks", masks, "--out", tmp_path / "out"]
    code, _, errors = call_shard(*words)
    assert code == 2
    last = errors.splitlines()[-1]
    assert "--num-folds 2, and 1 PatientID(s) in 4 training images" in last
    assert "--ignore-patient-id" in last
    assert "lower --num-folds" not in last, "it refuses 1"
    assert "ANONYMOUS" not in errors
    code, output, errors = call_shard(*words, "--ignore-patient-id")
    assert code == 0, errors
    assert "4 patients (each image counts as one)" in output
    assert "PatientID is missing or not used: folds may leak" in errors


def test_a_patient_with_more_images_than_a_fold_is_said(tmp_path: Path) -> None:
    write_images(tmp_path / "train", UIDS[:3], patient="ANONYMOUS")
    write_images(tmp_path / "train" / "more", UIDS[3:], patient="p")
    masks = write_masks(tmp_path / "masks.csv", UIDS)
    code, _, errors = call_shard("--dicom", tmp_path / "train", "--masks", masks, "--out", tmp_path / "out")
    assert code == 0, errors
    assert "3 of 4 training images are of one patient (by PatientID), more than one of 2 folds can hold" in errors


def test_a_patients_csv_of_other_images_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "train", UIDS, patient="p{}")
    masks = write_masks(tmp_path / "masks.csv", UIDS)
    (tmp_path / "patients.csv").write_text("ImageId,PatientId\nother,1\n")
    words = ["--dicom", tmp_path / "train", "--masks", masks, "--out", tmp_path / "out"]
    code, _, errors = call_shard(*words, "--patients", tmp_path / "patients.csv")
    assert code == 2
    assert "the patients CSV has no row for any of 4 training images" in errors
    (tmp_path / "patients.csv").write_text("ImageId,PatientId\n" + "".join(f"{uid},1\n" for uid in UIDS))
    code, _, errors = call_shard(*words, "--patients", tmp_path / "patients.csv")
    assert code == 2
    assert "the patients CSV names 1 patient(s) for 4 training images; " in errors
    assert errors.rstrip().endswith("; check the column PatientId of --patients")


def test_an_id_of_each_side_is_shown_when_none_fits(tmp_path: Path) -> None:
    write_images(tmp_path / "in", UIDS, names=NAMES, patient="p{}")
    words = ["--dicom", tmp_path / "in", "--masks", write_masks(tmp_path / "masks.csv", ["scan_0"])]
    code, _, errors = call_shard(*words, "--out", tmp_path / "out")
    assert code == 2
    assert f"masks CSV (an id of the masks CSV: scan_0; of a file: {UIDS[0]}); check --dicom and --masks" in errors


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
        assert hashlib.sha256(frame).hexdigest() == table.sha256[row]

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
