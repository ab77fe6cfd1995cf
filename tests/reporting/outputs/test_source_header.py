"""What is read from a source again: the patient and the study as they are, and nothing that cannot be written."""

from pathlib import Path

import pytest
import source_files
from pydicom.dataset import Dataset
from source_files import KINDS, PATIENT, UIDS

from pneumo.reporting.outputs import source_header
from pneumo.reporting.outputs.source_header import CannotBeReferredTo


def read(tmp_path: Path, **given: object) -> Dataset:
    source_files.write(tmp_path / "a.dcm", given)
    return source_header.read(tmp_path / "a.dcm").dataset


def test_identity_and_references_are_those_of_the_source(tmp_path: Path) -> None:
    header = read(tmp_path, InstitutionName="not needed", StudyDescription="CHEST")
    expected = {**UIDS, **PATIENT, "StudyDescription": "CHEST", "IssuerOfPatientID": ""}
    assert {keyword: str(header[keyword].value) for keyword in expected} == expected
    assert (header.Rows, header.Columns, header.Modality) == (source_files.ROWS, source_files.COLUMNS, "CR")
    absent = ("InstitutionName", "PixelData", "PixelSpacing", "FrameOfReferenceUID", "NumberOfFrames")
    assert not any(keyword in header for keyword in absent)


def test_text_is_in_unicode(tmp_path: Path) -> None:
    header = read(tmp_path, **KINDS["another alphabet"])
    assert str(header.PatientName) == "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"
    assert (
        str(read(tmp_path, SpecificCharacterSet="ISO_IR 100", PatientName="M\u00fcller").PatientName) == "M\u00fcller"
    )


@pytest.mark.parametrize(
    ("given", "keyword", "expected"),
    [
        ({"PatientBirthDate": "1970"}, "PatientBirthDate", ""),
        ({"StudyDate": "1997.04.24"}, "StudyDate", "19970424"),
        ({"StudyDate": "19970431"}, "StudyDate", ""),
        ({"StudyTime": "1011"}, "StudyTime", "1011"),
        ({"StudyTime": "10:11"}, "StudyTime", ""),
        ({"StudyTime": "101112.5"}, "StudyTime", "101112.5"),
        ({"StudyDate": "99999999"}, "StudyDate", ""),
        ({"PatientSex": "m"}, "PatientSex", ""),
        ({"PatientSex": None}, "PatientSex", ""),
        ({"AccessionNumber": "A" * 16}, "AccessionNumber", "A" * 16),
        ({"AccessionNumber": "A" * 17}, "AccessionNumber", ""),
        ({"PatientID": "a\\b"}, "PatientID", ""),
        ({"PatientName": "Doe^\x1bJane"}, "PatientName", "Doe^Jane"),
    ],
)
def test_values_that_are_none_are_left_empty_or_mended_and_named(tmp_path: Path, given, keyword, expected) -> None:
    source_files.write(tmp_path / "a.dcm", given)
    header = source_header.read(tmp_path / "a.dcm")
    assert str(header.dataset[keyword].value) == expected
    is_kept = not given[keyword] or expected in (given[keyword], given[keyword].replace(".", ""))
    assert header.changed == (() if is_kept else (keyword,))


def test_a_text_that_cannot_be_converted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source_files.write(tmp_path / "a.dcm", {})

    def fail(*_: object, **__: object) -> None:
        raise ValueError("damaged")

    monkeypatch.setattr("pydicom.dataset.DataElement_from_raw", fail, raising=False)
    monkeypatch.setattr("pydicom.dataset.convert_raw_data_element", fail, raising=False)
    header = source_header.read(tmp_path / "a.dcm")
    assert set(header.changed) == set(PATIENT)


def test_optional_elements_are_kept_where_they_are_valid(tmp_path: Path) -> None:
    header = read(
        tmp_path,
        PixelSpacing=[0.2, 0.1],
        FrameOfReferenceUID="1.2.3",
        PatientOrientation=["L", "F"],
        LossyImageCompression="01",
        LossyImageCompressionRatio="12.5",
        frames=3,
    )
    assert list(header.PixelSpacing) == [0.2, 0.1]
    assert (header.FrameOfReferenceUID, list(header.PatientOrientation)) == ("1.2.3", ["L", "F"])
    assert (header.LossyImageCompression, header.LossyImageCompressionRatio) == ("01", 12.5)
    assert header.NumberOfFrames == 3
    header = read(tmp_path, PixelSpacing=[0.2, 0.0], FrameOfReferenceUID="none")
    assert "PixelSpacing" not in header
    assert "FrameOfReferenceUID" not in header
    for absurd in ("50\\50", "1e-320\\1e300", "nan\\1"):
        assert "PixelSpacing" not in read(tmp_path, PixelSpacing=absurd)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_source_without_a_uid_cannot_be_referred_to(tmp_path: Path, keyword: str) -> None:
    with pytest.raises(CannotBeReferredTo, match=rf"^the source's {keyword} is no UID$"):
        read(tmp_path, **{keyword: "1.02.secret"})
    path = tmp_path / "gone.dcm"
    with pytest.raises(CannotBeReferredTo, match=r"^the file could not be read again \(No such file or directory\)$"):
        source_header.read(path)
