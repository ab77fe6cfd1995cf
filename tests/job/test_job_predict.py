"""job/predict.py as a user runs it: every file of a directory predicted or listed, every result of one prediction."""

import csv
import gzip
import os
import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pydicom
import pytest
from job_commands import JOB, run, start
from waiting import LONG_S, wait_until

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dicom.sop_instance import NO_UID
from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.masks import submission
from pneumo.reporting.outputs.registry import OUTPUTS
from pneumo.runtime import locks, result_directory
from pneumo.runtime.files import publish_text
from pneumo.runtime.result_directory import RECORD
from pneumo.synthetic.dicom_writer import write_dicom
from pneumo.synthetic.tree import SyntheticTree

Predict = Callable[..., tuple[object, str]]


@pytest.fixture
def predict(alone: Path, call_on_one_core: Callable[..., tuple[object, str]]) -> Predict:
    """Run the command in this process."""

    def predict(dicom: Path, out: Path, *flags: object, run: Path = alone) -> tuple[object, str]:
        return call_on_one_core("predict", "--run", run, "--dicom", dicom, "--out", out, *flags)

    return predict


@pytest.fixture
def all_positive(alone: Path, tmp_path: Path) -> Path:
    """A run whose rule calls every image positive."""
    copy = shutil.copytree(alone, tmp_path / "all_positive", ignore=shutil.ignore_patterns("checkpoints"))
    write_rule(copy / "thresholds.json", DecisionRule(1, 0.0, 1))
    return copy


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_prediction_of_the_test_files_gives_the_submission(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    code, output = run([JOB / "predict.py", "--run", alone, "--dicom", synthetic.test_dicom, "--out", tmp_path / "out"])
    assert code == 0, output
    # The only warning is about the ids, which are those of the competition's second stage.
    assert output.count("WARNING") == 1
    assert f"WARNING 6 images: {NO_UID}, such as " in output
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    rows = read(tmp_path / "out" / "findings.csv")
    assert len(rows) == 6
    assert list(rows[0]) == [
        *("image_id", "positive", "presence_probability", "max_pixel_probability", "mask_area_px", "mask_area_mm2"),
        *("modality", "body_part", "view", "presentation_intent", "rle", "notes"),
    ]
    pictures = list((tmp_path / "out" / "overlays").glob("*.png"))
    assert len(pictures) == sum(row["positive"] == "1" for row in rows)
    assert {p.name for p in (tmp_path / "out").iterdir()} - {"overlays"} == {
        *("predictions.csv", "findings.csv", "summary.html", "quarantine.csv", "left_out.csv", "logs", RECORD)
    }


def test_prediction_takes_what_is_an_image_and_lists_the_rest(
    alone: Path, predict: Predict, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    incoming = shutil.copytree(synthetic.test_dicom, tmp_path / "incoming")
    shutil.copy(next(incoming.rglob("*.dcm")), incoming / "copy.dcm")
    # An export that was interrupted; its copy is whole.
    whole = next(incoming.rglob("*.dcm")).read_bytes()
    (incoming / "half.dcm").write_bytes(whole[: len(whole) // 2])
    (incoming / "page.dcm").write_text("<html>")
    (incoming / "notes.txt").write_text("of no interest")
    (incoming / "gone.dcm").symlink_to("nowhere")
    out = tmp_path / "out"
    code, output = predict(incoming, out)
    assert code == 0, output
    assert "11 files found = 6 predicted + 4 quarantined + 0 left out + 1 merged duplicates" in output
    assert "4 of 11 files (36.4 %) quarantined: 2 unknown_format, 1 not_a_file, 1 duplicate" in output
    assert (out / "predictions.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    assert {row["file"]: row["reason"] for row in read(out / "quarantine.csv")} == {
        "gone.dcm": "not_a_file",
        "half.dcm": "duplicate",
        "notes.txt": "unknown_format",
        "page.dcm": "unknown_format",
    }
    # Nothing to predict: the list is written all the same.
    code, output = predict(incoming / "page.dcm", out)
    assert code == 2, output
    assert f"; expected X-ray images in --dicom; see {out / 'quarantine.csv'} (action: " in output
    assert ".shards." not in output
    assert [row["file"] for row in read(out / "quarantine.csv")] == ["page.dcm"]
    assert read(out / "findings.csv") == read(out / "predictions.csv") == list((out / "overlays").glob("*.png")) == []
    assert [path.name for path in out.glob(".*")] == [RECORD]


def test_pictures_are_predicted_as_the_same_pixels_in_dicoms_are(
    alone: Path, dataset: Path, predict: Predict, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    (tmp_path / "incoming").mkdir()
    reader = ShardReader(dataset, SampleTable.read(dataset))
    for row in reader.table.select("test").tolist():
        kind = reader.table.image_format[row]
        (tmp_path / "incoming" / f"{reader.table.image_id[row]}.{kind}").write_bytes(reader.image(row))
    (tmp_path / "incoming" / "more.gz").write_bytes(gzip.compress(next(synthetic.test_dicom.iterdir()).read_bytes()))
    code, output = predict(tmp_path / "incoming", tmp_path / "out")
    assert code == 0, output
    assert "7 files found = 6 predicted + 1 quarantined" in output
    assert "6 images are PNG or JPEG files, without a header: patients, views and pixel spacing" in output
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    assert {row["mask_area_mm2"] for row in read(tmp_path / "out" / "findings.csv")} == {""}
    (row,) = read(tmp_path / "out" / "quarantine.csv")
    assert (row["found"], row["action"]) == (
        *("a gzip archive by its first bytes", "unpack it, and give the directory with the files that were in it"),
    )


def test_a_zip_is_predicted_like_the_files_in_it_and_each_other_member_is_listed(
    alone: Path, predict: Predict, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    study, first, *others = tmp_path / "study.zip", *sorted(synthetic.test_dicom.iterdir())
    with zipfile.ZipFile(study, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("../..")
        archive.write(first, "../../../etc/a.dcm")
        archive.write(first, "again.dcm")
        archive.writestr("DICOMDIR.txt", "of no interest")
        archive.writestr("inner.zip", study.read_bytes() if study.exists() else b"PK\x03\x04")
        archive.writestr("cut.dcm", first.read_bytes()[:3000])
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "rest.zip", "w") as archive:
        for file in others:
            archive.write(file, f"rest/{file.name}")
    code, output = predict(study, tmp_path / "one")
    assert code == 0, output
    assert "5 files in 1 zip archive" in output
    assert "5 files found = 1 predicted + 3 quarantined + 0 left out + 1 merged duplicates" in output
    assert {row["file"]: row["reason"] for row in read(tmp_path / "one" / "quarantine.csv")} == {
        "study.zip/DICOMDIR.txt": "unknown_format",
        "study.zip/inner.zip": "unknown_format",
        "study.zip/cut.dcm": "duplicate",
    }
    study.rename(tmp_path / "in" / "study.zip")
    code, output = predict(tmp_path / "in", tmp_path / "all")
    assert code == 0, output
    assert "10 files found = 6 predicted + 3 quarantined + 0 left out + 1 merged duplicates" in output
    assert (tmp_path / "all" / "predictions.csv").read_bytes() == (alone / "submission.csv").read_bytes()


def test_names_are_ids_in_every_result_when_asked_for(
    predict: Predict, all_positive: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    """Also where the files share a SOPInstanceUID, which by itself makes them one image."""
    incoming, names = tmp_path / "incoming", [f"case-{number}" for number in range(3)]
    incoming.mkdir()
    for name, source in zip(names, sorted(synthetic.test_dicom.iterdir()), strict=False):
        image = pydicom.dcmread(source)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        image.save_as(incoming / f"{name}.DCM")
    code, output = predict(incoming, tmp_path / "out", run=all_positive)
    assert code == 2, output
    assert "--id file-name tells them apart" in output
    code, output = predict(incoming, tmp_path / "out", "--id", "file-name", run=all_positive)
    assert code == 0, output
    assert list(submission.read(tmp_path / "out" / "predictions.csv")) == names
    assert [row["image_id"] for row in read(tmp_path / "out" / "findings.csv")] == names
    assert sorted(path.stem for path in (tmp_path / "out" / "overlays").iterdir()) == names


def test_a_directory_of_everything_is_accounted_for_to_the_last_file(
    predict: Predict, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    incoming, sources = tmp_path / "incoming", sorted(synthetic.test_dicom.iterdir())
    (incoming / "masks").mkdir(parents=True)
    for source in sources[:2]:
        shutil.copy(source, incoming)
    lateral = pydicom.dcmread(sources[2])
    lateral.ViewPosition = "LL"
    lateral.save_as(incoming / "lateral.dcm")
    ramp = np.add.outer(np.arange(96), np.arange(96)).astype(np.uint8)
    mask = (ramp > 180).astype(np.uint8) * 255
    pictures = {"a.png": ramp, "b.jpg": ramp, "c d,\u00e9.png": ramp.astype(np.uint16) * 257, "masks/a.png": mask}
    pictures |= {"masks/b.png": mask * 0, "color.png": np.dstack([ramp, ramp, mask]), "=cmd.png": ramp}
    for name, pixels in pictures.items():
        written = cv2.imencode(name[-4:], pixels)[1].tobytes()
        (incoming / name).write_bytes(written)
    (incoming / "again.png").write_bytes(sources[0].read_bytes())
    (incoming / "desktop.ini").write_text("[.ShellClassInfo]\r\nIconIndex=0")
    (incoming / "b.jpg.gz").write_bytes(gzip.compress((incoming / "b.jpg").read_bytes()))
    code, output = predict(incoming, tmp_path / "out")
    assert code == 0, output
    assert "13 files found = 5 predicted + 4 quarantined + 3 left out + 1 merged duplicates" in output
    assert {row["file"]: row["reason"] for row in read(tmp_path / "out" / "quarantine.csv")} == {
        "'=cmd.png": "no_id",
        "b.jpg.gz": "unknown_format",
        "color.png": "unsupported",
        "desktop.ini": "unknown_format",
    }
    assert {row["file"]: row["reason"] for row in read(tmp_path / "out" / "left_out.csv")} == {
        "lateral.dcm": "view LL",
        "masks/a.png": "mask picture",
        "masks/b.png": "mask picture",
    }
    expected = {sources[0].stem, sources[1].stem, "a", "b", "c d,\u00e9"}
    assert set(submission.read(tmp_path / "out" / "predictions.csv")) == expected
    assert {row["image_id"] for row in read(tmp_path / "out" / "findings.csv")} == expected


def test_what_is_no_frontal_chest_x_ray_is_left_out_unless_asked_for(
    predict: Predict, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    incoming, (first, *_) = tmp_path / "incoming", sorted(synthetic.test_dicom.iterdir())
    shutil.copytree(synthetic.test_dicom, incoming)
    lateral = pydicom.dcmread(first)
    lateral.ViewPosition = "LL"
    lateral.save_as(incoming / first.name)
    code, output = predict(incoming, tmp_path / "out")
    assert code == 0, output
    assert "6 files found = 5 predicted + 0 quarantined + 1 left out" in output
    (row,) = read(tmp_path / "out" / "left_out.csv")
    assert (row["file"], row["reason"]) == (first.name, "view LL")
    code, output = predict(incoming / first.name, tmp_path / "none")
    assert code == 2, output
    listed = tmp_path / "none" / "left_out.csv"
    assert f"; see {listed}; --include-non-frontal takes the images of left_out.csv\n" in output
    code, output = predict(incoming, tmp_path / "out", "--include-non-frontal")
    assert code == 0, output
    (row,) = [row for row in read(tmp_path / "out" / "findings.csv") if row["image_id"] == first.stem]
    assert (row["modality"], row["body_part"], row["view"]) == ("CR", "CHEST", "LL")


def test_masks_that_were_corrected_by_hand_are_not_replaced(
    predict: Predict, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    out, file = tmp_path / "out", next(synthetic.test_dicom.iterdir())
    for _ in range(2):
        code, output = predict(file, out)
        assert code == 0, output
    corrected = (out / "predictions.csv").read_text().replace(" ", "  ") + "\n"
    (out / "predictions.csv").write_text(corrected)
    code, output = predict(file, out)
    assert code == 2, output
    assert f"changed since a prediction wrote it into {out}: 1 (predictions.csv); expected" in output
    assert (out / "predictions.csv").read_text() == corrected
    (out / "predictions.csv").rename(tmp_path / "corrected.csv")
    code, output = predict(file, out)
    assert code == 0, output
    assert (out / "predictions.csv").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stopped_prediction_leaves_no_pixels_and_the_earlier_results(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path, number: signal.Signals
) -> None:
    out, staged = tmp_path / "out", tmp_path / "staged"
    publish_text(staged / "findings.csv", "earlier")
    result_directory.publish(staged, out)
    earlier = {path.name: path.read_text() for path in out.iterdir()}
    incoming = shutil.copytree(synthetic.test_dicom, tmp_path / "incoming")
    for copy in range(40):
        shutil.copytree(synthetic.dicom, incoming / str(copy), copy_function=os.link)
    process = start([JOB / "predict.py", "--run", alone, "--dicom", incoming, "--out", out, "--workers", 1])
    wait_until(lambda: list(out.glob(".shards.*")), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 128 + number, output
    assert f"stopped by {number.name}" in output
    assert "Traceback" not in output
    assert {path.name: path.read_text() for path in out.iterdir()} == earlier


def test_the_docstring_lists_the_outputs(load_command: Callable[[str], ModuleType]) -> None:
    listed = re.findall(r"^    ([a-z_.]+)/?  +[a-zA-Z]", load_command("predict").__doc__ or "", re.MULTILINE)
    assert set(listed) == set(load_command("predict").WRITTEN)


def test_outputs_are_chosen_by_name_and_none_is_left_of_an_earlier_prediction(
    predict: Predict, all_positive: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    out, files = tmp_path / "out", sorted(synthetic.test_dicom.iterdir())
    code, output = predict(files[0], out, "--outputs", "findings", "overlays", run=all_positive)
    assert code == 0, output
    assert {p.name for p in out.iterdir()} == {
        "findings.csv",
        "overlays",
        "quarantine.csv",
        "left_out.csv",
        "logs",
        RECORD,
    }
    assert [p.name for p in (out / "overlays").iterdir()] == [f"{files[0].stem}.png"]
    before = (out / "findings.csv").read_bytes()
    code, output = predict(files[1], out, "--outputs", "findings", run=all_positive)
    assert code == 2, output
    assert "has overlays of an earlier prediction, and --outputs is findings; expected results of one" in output
    assert (out / "findings.csv").read_bytes() == before
    code, output = predict(files[1], out, run=all_positive)
    assert code == 0, output
    assert f"{out}: removed 1 file of an earlier prediction" in output
    assert [p.name for p in (out / "overlays").iterdir()] == [f"{files[1].stem}.png"]
    assert [row["image_id"] for row in read(out / "findings.csv")] == list(submission.read(out / "predictions.csv"))
    code, output = predict(files[1], out, "--outputs", "findings", "dicom_seg")
    assert code == 2, output
    assert f"--outputs findings dicom_seg; expected one or more of {', '.join(OUTPUTS)}, each once" in output


def test_what_a_killed_prediction_left_is_removed_but_not_under_another_process(
    predict: Predict, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, file = tmp_path / "out", next(synthetic.test_dicom.iterdir())
    (out / ".shards.pneumo-tmp-abcdefgh" / "dataset").mkdir(parents=True)
    (out / f".{RECORD}.pneumo-tmp-abcdefgh").touch()
    (out / ".mine.pneumo-tmp-abcdefgh").touch()
    with locks.hold(out / ".lock", "the test"), monkeypatch.context() as patch:
        patch.setattr(locks, "hold", partial(locks.hold, wait_s=0.0))
        code, output = predict(file, out)
    assert code == 2, output
    assert f"another process works on {out}" in output
    code, output = predict(file, out, "--outputs", "predictions")
    assert code == 0, output
    assert {p.name for p in out.iterdir()} == {
        "predictions.csv",
        "quarantine.csv",
        "left_out.csv",
        "logs",
        RECORD,
        ".mine.pneumo-tmp-abcdefgh",
    }


def test_results_of_a_run_are_written_under_its_lock_only(
    alone: Path, predict: Predict, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = shutil.copytree(alone, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    for name in ("metrics.json", "thresholds.json"):
        (trained / name).unlink()
    temporary = trained / ".thresholds.json.pneumo-tmp-abcdefgh"
    temporary.touch()
    file = next(synthetic.test_dicom.iterdir())
    with locks.hold(trained / ".lock", "the test"), monkeypatch.context() as patch:
        patch.setattr(locks, "hold", partial(locks.hold, wait_s=0.0))
        code, output = predict(file, tmp_path / "out", run=trained)
    assert code == 2, output
    assert f"another process works on {trained}" in output
    assert temporary.exists()
    assert not (trained / "thresholds.json").exists()
    code, output = predict(file, tmp_path / "out", run=trained)
    assert code == 0, output
    assert (trained / "thresholds.json").read_bytes() == (alone / "thresholds.json").read_bytes()
    assert not temporary.exists()


def test_a_long_temporary_path_is_not_taken_for_a_full_disk(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / ("t" * 110)
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    words = ["--run", alone, "--dicom", synthetic.test_dicom, "--out", tmp_path / "out"]
    code, output = run([JOB / "predict.py", *words])
    assert code == 2, output
    assert "; set TMPDIR, for example to /tmp" in output
    assert "free space" not in output


def test_a_disk_without_space_for_the_images_is_named_by_the_flag(
    predict: Predict, synthetic: SyntheticTree, small_disk: Path
) -> None:
    out = small_disk / "out"
    subprocess.run(["mount", "-o", "remount,size=24k", small_disk], check=True)
    code, output = predict(synthetic.test_dicom, out)
    assert code == 2, output
    assert f"--out {out}: No space left on device; expected free space for the images" in output
    assert ".pneumo-tmp" not in output
    assert not list(out.iterdir())


def test_the_tables_are_written_when_the_pictures_fill_the_disk(
    predict: Predict, all_positive: Path, synthetic: SyntheticTree, small_disk: Path
) -> None:
    out = small_disk / "out"
    subprocess.run(["mount", "-o", "remount,size=700k", small_disk], check=True)
    code, output = predict(synthetic.test_dicom, out, run=all_positive)
    assert code == 2, output
    assert "overlays is incomplete (OSError: [Errno 28] No space left on device" in output
    assert "No space left on device; expected free space; delete files, or use a larger disk" in output
    assert "Traceback" not in output
    assert 0 < len(list((out / "overlays").iterdir())) < 6
    masks = submission.read(out / "predictions.csv")
    assert len(masks) == 6
    assert [row["image_id"] for row in read(out / "findings.csv")] == list(masks)
    assert [path.name for path in out.glob(".*")] == [RECORD]


def test_a_limit_that_a_file_exceeds_is_the_flags(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_dicom(
        tmp_path / "in" / "large.dcm", np.zeros((4096, 4096), np.uint8), image_id="1.2.3", patient_id="p", view="PA",
        sex="F", age=50, spacing_mm=0.2, syntax="explicit", photometric="MONOCHROME2",
    )  # fmt: skip
    code, output = predict(tmp_path / "in", tmp_path / "out", "--memory-limit", 0.01)
    assert code == 2, output
    assert "none of 1 test file became a sample" in output
    (row,) = read(tmp_path / "out" / "quarantine.csv")
    assert row["action"] == "leave it out, or raise --memory-limit for a good image"
