"""job/predict.py as a user runs it: every file of a folder predicted or listed."""

import csv
import shutil
from pathlib import Path

from job_commands import JOB, run

from pneumo.synthetic.dicom_tree import SyntheticTree


def test_prediction_of_the_test_files_gives_the_submission(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    code, output = run([JOB / "predict.py", "--run", alone, "--dicom", synthetic.test_dicom, "--out", tmp_path / "out"])
    assert code == 0, output
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    with (tmp_path / "out" / "findings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert list(rows[0]) == [
        *("image_id", "positive", "presence_probability", "max_pixel_probability", "mask_area_px", "mask_area_mm2")
    ]
    pictures = list((tmp_path / "out" / "overlays").glob("*.png"))
    assert len(pictures) == sum(row["positive"] == "1" for row in rows)
    assert {p.name for p in (tmp_path / "out").iterdir()} - {"overlays"} == {
        *("predictions.csv", "findings.csv", "quarantine.csv")
    }


def test_prediction_takes_what_is_an_image_and_lists_the_rest(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    incoming = shutil.copytree(synthetic.test_dicom, tmp_path / "incoming")
    shutil.copy(next(incoming.rglob("*.dcm")), incoming / "copy.dcm")
    (incoming / "page.dcm").write_text("<html>")
    (incoming / "notes.txt").write_text("of no interest")
    (incoming / "gone.dcm").symlink_to("nowhere")
    words = [JOB / "predict.py", "--run", alone, "--out", tmp_path / "out", "--dicom"]
    code, output = run([*words, incoming])
    assert code == 0, output
    assert "10 files found = 6 predicted + 3 quarantined + 1 merged duplicates" in output
    assert "3 of 10 files (30.0 %) are quarantined: 2 not_dicom, 1 not_a_file" in output
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    with (tmp_path / "out" / "quarantine.csv").open() as file:
        listed = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert listed == {"gone.dcm": "not_a_file", "notes.txt": "not_dicom", "page.dcm": "not_dicom"}
    # Nothing to predict: the list is there all the same.
    code, output = run([*words, incoming / "page.dcm"])
    assert code == 2, output
    assert f"see {tmp_path / 'out' / 'quarantine.csv'} for what they are instead" in output
    assert ".shards-" not in output
    with (tmp_path / "out" / "quarantine.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["page.dcm"]
    assert not list((tmp_path / "out").glob(".*"))


def test_outputs_are_chosen_by_name(alone: Path, synthetic: SyntheticTree, tmp_path: Path) -> None:
    words = [JOB / "predict.py", "--run", alone, "--dicom", synthetic.test_dicom, "--out", tmp_path / "out"]
    code, output = run([*words, "--outputs", "findings"])
    assert code == 0, output
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"findings.csv", "quarantine.csv"}
    code, output = run([*words, "--outputs", "findings", "dicom_seg"])
    assert code == 2, output
    assert "--outputs findings dicom_seg; expected one or more of predictions, findings, overlays, each once" in output
