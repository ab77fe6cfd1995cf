"""job/shard.py where patients are not those of the images, or too few."""

from pathlib import Path

from shard_inputs import UIDS, call_shard, write_images, write_masks


def test_one_patient_id_in_all_files_is_said_with_the_flag_that_helps(tmp_path: Path) -> None:
    write_images(tmp_path / "train", UIDS, patient="ANONYMOUS")
    masks = write_masks(tmp_path / "masks.csv", UIDS)
    words = ["--dicom", tmp_path / "train", "--masks", masks, "--out", tmp_path / "out"]
    code, _, errors = call_shard(*words)
    assert code == 2
    last = errors.splitlines()[-1]
    assert "--num-folds 2, and 1 PatientID in 4 training images" in last
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
    assert "the patients CSV names 1 patient for 4 training images; " in errors
    assert errors.rstrip().endswith("; check the column PatientId of --patients")
