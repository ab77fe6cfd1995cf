"""The overlays as DICOM Secondary Captures: valid, of the source's patient, and the picture that overlays/ has."""

import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import source_files
from predicted_sources import predict, write_all
from pydicom.dataset import Dataset
from source_files import KINDS, WRITTEN

from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting import overlays
from pneumo.reporting.outputs.overlay_pictures import panel_of
from pneumo.reporting.outputs.secondary_captures import MIN_SIDE, SecondaryCaptures


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Dataset, Path, PredictedImage]]:
    """The source, the capture and the predicted image of each kind."""
    return write_all(SecondaryCaptures, tmp_path_factory.mktemp("captures"))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_filed_with_its_source(written, kind: str) -> None:
    source, path, _ = written[kind]
    stored = pydicom.dcmread(path)
    assert stored.SOPClassUID.name == "Secondary Capture Image Storage"
    assert stored.StudyInstanceUID == source.StudyInstanceUID
    (reference,) = stored.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    for keyword in ("PatientID", "PatientName", "StudyDescription", "AccessionNumber"):
        assert str(stored[keyword].value or "") == WRITTEN.get(kind, {}).get(keyword, str(source.get(keyword, "")))
    assert stored.PatientOrientation == WRITTEN.get(kind, source).get("PatientOrientation", "")
    assert stored.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert "not for clinical use" in stored.SeriesDescription
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dicom3tools")
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_the_standard_asks_for(written, kind: str) -> None:
    checked = subprocess.run(["dciodvfy", "-new", str(written[kind][1])], capture_output=True, text=True, check=False)
    lines = checked.stderr.splitlines()
    assert "SCImage" in lines
    assert [line for line in lines if line.startswith("Error")] == []


def test_it_shows_the_overlay(written, tmp_path: Path) -> None:
    _, path, image = written["CR, pixels not square"]
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "a.dcm"
    source_files.write(source, KINDS["CR, pixels not square"])
    context, _ = predict({"a": source}, tmp_path)
    # The rows of the two readers differ, and so does the area in mm2, which the caption has.
    expected = overlays.draw(panel_of(image, replace(context, reader=image.reader)), MIN_SIDE)
    assert np.array_equal(pydicom.dcmread(path).pixel_array, expected[:, :, ::-1])


def test_images_without_a_mask_are_drawn_when_all_are(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.dcm"
    source_files.write(path, {})
    context, predicted = predict({"a": path}, tmp_path)
    empty = replace(predicted["a"], prediction=replace(predicted["a"].prediction, mask_area=0))
    SecondaryCaptures(tmp_path / "some", context).add(empty)
    assert not (tmp_path / "some").exists()
    SecondaryCaptures(tmp_path / "all", replace(context, all_overlays=True)).add(empty)
    assert (tmp_path / "all" / "a.dcm").exists()
    path.unlink()
    output = SecondaryCaptures(tmp_path / "none", context)
    output.add(predicted["a"])
    (note,) = context.notes["a"]
    assert note.startswith("no DICOM Secondary Capture: the file could not be read again")
