"""job/shard.py where the ids of the masks CSV are not those of the files."""

import json
from pathlib import Path

import pydicom
import pytest
from shard_inputs import NAMES, UIDS, call_shard, write_images, write_masks

from pneumo.dataset.paths import MANIFEST
from pneumo.dataset.table import SampleTable


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
    assert "a dataset that was built with --id file-name; expected the same flags; give them as they were" in errors


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


def test_an_id_of_each_side_is_shown_when_none_fits(tmp_path: Path) -> None:
    write_images(tmp_path / "in", UIDS, names=NAMES, patient="p{}")
    words = ["--dicom", tmp_path / "in", "--masks", write_masks(tmp_path / "masks.csv", ["scan_0"])]
    code, _, errors = call_shard(*words, "--out", tmp_path / "out")
    assert code == 2
    assert f"masks CSV (an id of the masks CSV: scan_0; of a file: {UIDS[0]}); check --dicom and --masks" in errors
