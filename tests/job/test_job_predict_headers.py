"""job/predict.py on files whose headers say too little or what they must not: the results say so."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from job_commands import Predict, read_rows
from pydicom import config

from pneumo.dicom.attributes import AT_DETECTOR
from pneumo.reporting.outputs.derived_instances import CHANGED
from pneumo.synthetic.tree import SyntheticTree

UIDS = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5", "SOPInstanceUID": "1.2.3.6"}
MARK = "Planted"


@pytest.fixture
def source(synthetic: SyntheticTree, tmp_path: Path) -> Path:
    """An image with the spacing of its detector alone, and an identity that is not valid."""
    dataset = pydicom.dcmread(next(synthetic.test_dicom.iterdir()))
    del dataset.PixelSpacing
    with config.disable_value_validation():
        for keyword, value in {
            **UIDS,
            "ImagerPixelSpacing": [5.0, 5.0],
            "PatientOrientation": ["L", "F", "P"],
            "PatientName": f"{MARK}\x1b^A\nB",
            "PatientID": f"{MARK}\\{MARK}",
            "AccessionNumber": MARK * 40,
            "PatientSex": MARK,
            "StudyTime": MARK,
        }.items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = UIDS["SOPInstanceUID"]
        dataset.save_as(tmp_path / "source.dcm")
    return tmp_path / "source.dcm"


def test_an_area_on_the_detector_is_called_so(
    predict: Predict, all_positive: Path, source: Path, tmp_path: Path
) -> None:
    code, output = predict(source, tmp_path / "out", run=all_positive)
    assert code == 0, output
    assert f"WARNING 1 image: {AT_DETECTOR}, such as " in output
    (row,) = read_rows(tmp_path / "out" / "findings.csv")
    assert AT_DETECTOR in row["notes"].split("; ")
    assert float(row["mask_area_mm2"]) == pytest.approx(int(row["mask_area_px"]) * 25, abs=0.06)
    assert AT_DETECTOR in (tmp_path / "out" / "summary.html").read_text()
    (segmentation,) = (tmp_path / "out" / "segmentations").iterdir()
    assert "PixelMeasuresSequence" not in pydicom.dcmread(segmentation).SharedFunctionalGroupsSequence[0]


def test_an_identity_that_is_not_valid_is_named_and_what_is_written_is_valid(
    predict: Predict, all_positive: Path, source: Path, tmp_path: Path
) -> None:
    outputs = ("findings", "summary", "segmentations", "secondary-captures")
    code, output = predict(source, tmp_path / "out", "--outputs", *outputs, run=all_positive)
    assert code == 0, output
    (row,) = read_rows(tmp_path / "out" / "findings.csv")
    elements = "PatientName, PatientID, PatientSex, StudyTime, AccessionNumber, PatientOrientation"
    assert row["notes"].split("; ")[-1] == CHANGED + elements
    for name in ("findings.csv", "summary.html"):
        assert MARK not in (tmp_path / "out" / name).read_text()
    assert MARK not in output
    for directory in ("segmentations", "secondary_captures"):
        (path,) = (tmp_path / "out" / directory).iterdir()
        written = pydicom.dcmread(path)
        assert (written.PatientName, written.PatientID, written.AccessionNumber) == (f"{MARK}^AB", "", "")
        assert written.StudyInstanceUID == UIDS["StudyInstanceUID"]
        assert np.any(written.pixel_array)
        if shutil.which("dciodvfy"):
            checked = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
            assert [line for line in checked.stderr.splitlines() if line.startswith("Error")] == []
