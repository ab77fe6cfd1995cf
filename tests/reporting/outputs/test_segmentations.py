"""The segmentations: each refers to its source, is what the standard asks for, and is read back to the same mask."""

import logging
import shutil
import stat
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import highdicom
import numpy as np
import pydicom
import pytest
import source_files
from predicted_sources import mask, predict, write_all
from pydicom.dataset import Dataset
from source_files import KINDS, WRITTEN

from pneumo import __version__
from pneumo.inference.ensembler import PredictedImage
from pneumo.loading.images import read_image
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.segmentations import Segmentations


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Dataset, Path, PredictedImage]]:
    """The source, the segmentation and the predicted image of each kind."""
    return write_all(Segmentations, tmp_path_factory.mktemp("segmentations"))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_back_to_the_same_mask_in_the_matrix_of_the_source(written, kind: str) -> None:
    source, path, image = written[kind]
    stored = pydicom.dcmread(path)
    assert (stored.Rows, stored.Columns) == (source.Rows, source.Columns)
    assert (stored.SegmentationType, stored.NumberOfFrames, stored.BitsAllocated) == ("BINARY", 1, 1)
    assert np.array_equal(stored.pixel_array, mask())
    read = highdicom.seg.segread(path)
    pixels = read.get_pixels_by_source_instance([source.SOPInstanceUID], ignore_spatial_locations=True)
    assert np.array_equal(pixels[0, :, :, 0], mask())
    # What was predicted has the rows and columns of the file: its bright corner is where the file has it.
    shown = read_image(image.reader, image.row)
    corner = -1 if source.PhotometricInterpretation == "MONOCHROME1" else 1
    assert (corner * shown[:8, :8]).min() > (corner * shown[12:, 12:]).max()


@pytest.mark.parametrize("kind", KINDS)
def test_it_refers_to_its_source_and_has_its_patient_and_study(written, kind: str) -> None:
    source, path, _ = written[kind]
    stored = pydicom.dcmread(path)
    assert stored.StudyInstanceUID == source.StudyInstanceUID
    (series,) = stored.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID != stored.SeriesInstanceUID
    (instance,) = series.ReferencedInstanceSequence
    (derived,) = stored.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    for reference in (instance, derived, stored.SourceImageSequence[0]):
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert derived.get("ReferencedFrameNumber") == (1 if kind == "several frames" else None)
    assert derived.SpatialLocationsPreserved == "YES"
    assert stored.get("FrameOfReferenceUID") == source.get("FrameOfReferenceUID")
    assert stored.PatientOrientation == WRITTEN.get(kind, source).get("PatientOrientation", "")
    (shared,) = stored.SharedFunctionalGroupsSequence
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing if "PixelMeasuresSequence" in shared else None
    assert spacing == source.get("PixelSpacing")
    for keyword in source_files.PATIENT:
        value = WRITTEN.get(kind, {}).get(keyword, source.get(keyword, ""))
        assert str(stored[keyword].value or "") == str(value), keyword


@pytest.mark.skipif(not shutil.which("dciodvfy") or not shutil.which("dcmdump"), reason="needs dicom3tools and dcmtk")
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_the_standard_asks_for(written, kind: str) -> None:
    _, path, _ = written[kind]
    checked = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = checked.stderr.splitlines()
    assert "Segmentation" in lines
    assert [line for line in lines if line.startswith("Error")] == []
    dumped = subprocess.run(["dcmdump", "+U8", str(path)], capture_output=True, text=True, check=False)
    assert (dumped.returncode, dumped.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("dcmj2pnm"), reason="needs dcmtk")
def test_another_viewer_draws_the_same_pixels(written, tmp_path: Path) -> None:
    _, path, _ = written["CR, pixels not square"]
    subprocess.run(["dcmj2pnm", str(path), str(tmp_path / "a.pgm")], check=True)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.pgm"), cv2.IMREAD_UNCHANGED) > 0, mask() > 0)


def test_it_says_what_the_segment_is_and_what_made_it(written) -> None:
    _, path, _ = written["CR, pixels not square"]
    stored = pydicom.dcmread(path)
    (segment,) = stored.SegmentSequence
    (category,), (kind,) = segment.SegmentedPropertyCategoryCodeSequence, segment.SegmentedPropertyTypeCodeSequence
    assert (category.CodeValue, category.CodingSchemeDesignator) == ("49755003", "SCT")
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("36118008", "SCT", "Pneumothorax")
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("pneumo", __version__)
    assert algorithm.AlgorithmParameters == "rule=a rule"
    assert stored.ContentDescription == "Pneumothorax by pneumo, not for clinical use"
    assert stored.SoftwareVersions == __version__
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_of_the_patient_is_printed_and_no_other_attribute_is_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    path, names = tmp_path / "in" / "a.dcm", {"PatientName": "Secret", "PatientID": "Secret\u00e9" * 9}
    names["AccessionNumber"] = "Secret" * 20
    others = ("InstitutionName", "OperatorsName", "PatientComments", "PatientAddress", "ImageComments", "StationName")
    source_files.write(path, {**names, **dict.fromkeys(others, "Planted"), "SpecificCharacterSet": "ISO_IR 100"})
    context, predicted = predict({"a": path}, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Segmentations(tmp_path / "out", context).add(predicted["a"])
    assert caplog.messages == []
    assert capfd.readouterr() == ("", "")
    data = (tmp_path / "out" / "a.dcm").read_bytes()
    assert (data.count(b"Secret"), data.count(b"Planted")) == (10, 0)
    with pydicom.config.disable_value_validation():
        assert pydicom.dcmread(tmp_path / "out" / "a.dcm").PatientID == names["PatientID"]


def test_images_of_one_study_are_one_series(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = {name: tmp_path / "in" / f"{name}.dcm" for name in "abc"}
    for number, path in enumerate(paths.values()):
        study = {"StudyInstanceUID": f"1.2.3.{number // 2}"}
        source_files.write(path, {"SOPInstanceUID": f"1.2.9.{number}", **study})
    context, predicted = predict(paths, tmp_path)
    output = Segmentations(tmp_path / "out", context)
    for image in predicted.values():
        output.add(image)
    stored = [pydicom.dcmread(tmp_path / "out" / f"{name}.dcm") for name in "abc"]
    assert stored[0].SeriesInstanceUID == stored[1].SeriesInstanceUID != stored[2].SeriesInstanceUID
    assert [one.InstanceNumber for one in stored] == [1, 2, 1]
    assert len({one.SOPInstanceUID for one in stored}) == 3


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"StudyInstanceUID": None}, "the source's StudyInstanceUID is missing"),
        ({"SOPInstanceUID": "ID_0011fe81e"}, "the source's SOPInstanceUID is no UID"),
        ({"SeriesInstanceUID": "1.2." + "3" * 70}, "the source's SeriesInstanceUID is no UID"),
    ],
)
def test_an_image_that_cannot_be_referred_to_is_noted(tmp_path: Path, given, why: str, caplog) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.dcm"
    source_files.write(path, given)
    context, predicted = predict({"a": path}, tmp_path)
    output = Segmentations(tmp_path / "out", context)
    output.add(predicted["a"])
    with caplog.at_level(logging.WARNING):
        output.close()
    assert context.notes == {"a": [f"no DICOM SEG: {why}"]}
    assert f"out: 1 image is without one, most often because {why}; findings.csv says it of each" in caplog.messages
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_gone_or_another_is_noted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.dcm"
    source_files.write(path, {})
    context, predicted = predict({"a": path}, tmp_path)
    other = np.zeros((7, 9), np.uint8)
    other[3, 3] = 1
    Segmentations(tmp_path / "out", context).add(replace(predicted["a"], mask=other))
    path.unlink()
    Segmentations(tmp_path / "out", context).add(predicted["a"])
    assert context.notes["a"] == [
        "no DICOM SEG: the file was changed meanwhile",
        "no DICOM SEG: the file could not be read again (No such file or directory)",
    ]


def test_pictures_and_images_without_a_mask_have_none(predicted, context: OutputContext, tmp_path: Path) -> None:
    output = Segmentations(tmp_path / "out", context)
    output.add(predicted(0, 0, 0))
    assert context.notes == {}
    table = context.table
    pictures = replace(table, transfer_syntax=np.full(len(table), "", dtype=np.str_))
    reader = type(context.reader)(context.reader.dataset, pictures)
    output = Segmentations(tmp_path / "out", replace(context, reader=reader))
    output.add(predicted(0, 3, 3))
    (notes,) = context.notes.values()
    assert notes == ["no DICOM SEG: the source is a PNG or JPEG file"]
