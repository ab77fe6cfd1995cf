"""job/predict.py as a user runs it: every file of a directory, an archive or a path is predicted or listed."""

import gzip
import re
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from job_commands import JOB, Predict, read_rows, run

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dicom.sop_instance import NO_UID
from pneumo.masks import submission
from pneumo.runtime import console
from pneumo.runtime.result_directory import RECORD
from pneumo.synthetic.dicom_writer import write_dicom
from pneumo.synthetic.tree import SyntheticTree


def test_prediction_of_the_test_files_gives_the_submission(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    code, output = run([JOB / "predict.py", "--run", alone, "--dicom", synthetic.test_dicom, "--out", tmp_path / "out"])
    assert code == 0, output
    # Of the ids, which are those of the competition's second stage, and of small networks that have learned nothing.
    assert output.count("WARNING") == 3
    assert f"WARNING {alone}: Trained by the recipe debug, which is for trying pneumo out" in output
    verdict = r"On labeled images: (Worse than|Not clearly better than) empty masks\. The nested Dice is "
    assert re.search(f"WARNING {alone}: {verdict}", output)
    assert f"WARNING 6 images: {NO_UID}, such as " in output
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    rows = read_rows(tmp_path / "out" / "findings.csv")
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


def test_prediction_says_when_the_networks_start_and_calls_its_progress_predicting(
    predict: Predict, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    code, output = predict(min(synthetic.test_dicom.rglob("*.dcm")), tmp_path / "out")
    assert code == 0, output
    started = output.index("read 1 image, starting the networks")
    assert output.index(" INFO reading ") < started < output.index("predicting: 1 of 1 images")
    assert "ensemble:" not in output


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
    assert {row["file"]: row["reason"] for row in read_rows(out / "quarantine.csv")} == {
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
    assert [row["file"] for row in read_rows(out / "quarantine.csv")] == ["page.dcm"]
    assert (
        read_rows(out / "findings.csv")
        == read_rows(out / "predictions.csv")
        == list((out / "overlays").glob("*.png"))
        == []
    )
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
    assert {row["mask_area_mm2"] for row in read_rows(tmp_path / "out" / "findings.csv")} == {""}
    (row,) = read_rows(tmp_path / "out" / "quarantine.csv")
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
    assert {row["file"]: row["reason"] for row in read_rows(tmp_path / "one" / "quarantine.csv")} == {
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
    assert [row["image_id"] for row in read_rows(tmp_path / "out" / "findings.csv")] == names
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
    assert {row["file"]: row["reason"] for row in read_rows(tmp_path / "out" / "quarantine.csv")} == {
        "'=cmd.png": "no_id",
        "b.jpg.gz": "unknown_format",
        "color.png": "unsupported",
        "desktop.ini": "unknown_format",
    }
    assert {row["file"]: row["reason"] for row in read_rows(tmp_path / "out" / "left_out.csv")} == {
        "lateral.dcm": "view LL",
        "masks/a.png": "mask picture",
        "masks/b.png": "mask picture",
    }
    expected = {sources[0].stem, sources[1].stem, "a", "b", "c d,\u00e9"}
    assert set(submission.read(tmp_path / "out" / "predictions.csv")) == expected
    assert {row["image_id"] for row in read_rows(tmp_path / "out" / "findings.csv")} == expected


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
    (row,) = read_rows(tmp_path / "out" / "left_out.csv")
    assert (row["file"], row["reason"]) == (first.name, "view LL")
    code, output = predict(incoming / first.name, tmp_path / "none")
    assert code == 2, output
    listed = tmp_path / "none" / "left_out.csv"
    assert f"; see {listed}; --include-non-frontal takes the images of left_out.csv\n" in output
    code, output = predict(incoming, tmp_path / "out", "--include-non-frontal")
    assert code == 0, output
    (row,) = [row for row in read_rows(tmp_path / "out" / "findings.csv") if row["image_id"] == first.stem]
    assert (row["modality"], row["body_part"], row["view"]) == ("CR", "CHEST", "LL")


def test_a_limit_that_a_file_exceeds_is_the_flags(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_dicom(
        tmp_path / "in" / "large.dcm", np.zeros((4096, 4096), np.uint8), image_id="1.2.3", patient_id="p", view="PA",
        sex="F", age=50, spacing_mm=0.2, syntax="explicit", photometric="MONOCHROME2",
    )  # fmt: skip
    code, output = predict(tmp_path / "in", tmp_path / "out", "--memory-limit", 0.01)
    assert code == 2, output
    assert "no usable image in 1 test file (1 too_much_memory)" in output
    (row,) = read_rows(tmp_path / "out" / "quarantine.csv")
    assert row["action"] == "leave it out, or raise --memory-limit for a good image"


def test_an_adult_too_small_by_the_pixel_spacing_has_no_area_in_square_millimeters(
    predict: Predict, all_positive: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    ramp = np.tile(np.arange(128, dtype=np.uint8), (128, 1))
    for name, age, spacing in (("wrong", 50, 1.0), ("right", 50, 3.0), ("child", 3, 1.5)):
        write_dicom(
            tmp_path / "in" / f"{name}.dcm", ramp, image_id=f"1.2.{age}.{spacing:.0f}{age}", patient_id="p", view="PA",
            sex="F", age=age, spacing_mm=spacing, syntax="explicit", photometric="MONOCHROME2",
        )  # fmt: skip
    code, output = predict(tmp_path / "in", tmp_path / "out", "--id", "file-name", run=all_positive)
    assert code == 0, output
    assert "1 image, by the pixel spacing 12.8 to 12.8 cm high, such as wrong: too small for the chests" in output
    rows = {row["image_id"]: row for row in read_rows(tmp_path / "out" / "findings.csv")}
    pixels = {name: int(row["mask_area_px"]) for name, row in rows.items()}
    assert min(pixels.values()) > 0
    assert {name: row["mask_area_mm2"] for name, row in rows.items()} == {
        "wrong": "", "right": f"{9 * pixels['right']:.1f}", "child": f"{2.25 * pixels['child']:.1f}",
    }  # fmt: skip
    note = "by the pixel spacing 12.8 cm high, which is too small for adults here: no area in mm2"
    assert [name for name, row in rows.items() if note in row["notes"]] == ["wrong"]
