"""The program of job/DATA.md that finds the patients: on synthetic X-rays, their PNG originals under NIH's names."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pages import ROOT, blocks

from pneumo.synthetic.tree import SyntheticTree


def test_the_patients_are_found_by_the_pictures(
    synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((_, program),) = blocks(ROOT / "job" / "DATA.md", "python")
    data = tmp_path / "data"
    (data / "nih" / "images_001").mkdir(parents=True)
    for name, source in (("train", synthetic.dicom), ("test", synthetic.test_dicom)):
        shutil.copytree(source, data / "pneumothorax" / f"dicom-images-{name}")
    dicoms = [pydicom.dcmread(path) for path in sorted((data / "pneumothorax").rglob("*.dcm"))]
    expected = {}
    for n, dicom in enumerate(dicoms[:-1]):
        # As from another encoder, and 16 bits made 8: not the same pixels.
        image = cv2.normalize(dicom.pixel_array, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
        noisy = np.clip(image + np.random.default_rng(n).normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(data / "nih" / "images_001" / f"{n // 2:08d}_{n % 2:03d}.png"), noisy)
        expected[str(dicom.SOPInstanceUID)] = f"{n // 2:08d}"
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "patients.py", "exec"), {})
    with (data / "patients.csv").open() as file:
        found = {row["ImageId"]: row["PatientId"] for row in csv.DictReader(file)}
    assert found == expected, "all but the one whose original is missing, and each with its own patient"
    assert f"{len(expected)} of {len(dicoms)} images found among {len(expected)}" in capsys.readouterr().out


def test_a_directory_without_pictures_ends_the_program_before_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((_, program),) = blocks(ROOT / "job" / "DATA.md", "python")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="found 0 DICOMs below data/ and 0 PNGs below data/nih/; expected both"):
        exec(compile(program, "patients.py", "exec"), {})
    assert not list((tmp_path / "data").iterdir())
