"""What is made of a source: where it is in the study, and what it repeats."""

from pathlib import Path

import pydicom
import source_files
from predicted_sources import predict
from pydicom.dataset import Dataset
from source_files import KINDS

from pneumo.reporting.outputs import source_header
from pneumo.reporting.outputs.derived_instances import DerivedInstances, Place, add_identity, add_reference, stand_in


def header(tmp_path: Path, **given: object) -> Dataset:
    source_files.write(tmp_path / "source.dcm", given)
    return source_header.read(tmp_path / "source.dcm").dataset


def test_a_stand_in_has_no_patient_and_leaves_the_header_as_it_is(tmp_path: Path) -> None:
    found = header(tmp_path, **KINDS["several frames"], PixelSpacing=[0.2, 0.1])
    before = str(found)
    stand = stand_in(found)
    assert not any(stand[keyword].value for keyword in source_header.IDENTITY)
    assert "NumberOfFrames" not in stand
    assert "PixelSpacing" not in stand
    assert (stand.StudyInstanceUID, stand.SOPInstanceUID) == (found.StudyInstanceUID, found.SOPInstanceUID)
    assert str(found) == before


def test_identity_and_references_are_the_sources(tmp_path: Path) -> None:
    found = header(tmp_path, **KINDS["several frames"])
    instance, reference = Dataset(), Dataset()
    add_identity(instance, found)
    add_reference([reference], found)
    assert (instance.PatientID, str(instance.PatientName), instance.PatientOrientation) == ("P-17", "Doe^Jane", "")
    assert (reference.ReferencedSOPClassUID, reference.ReferencedFrameNumber) == (found.SOPClassUID, 1)
    single = Dataset()
    add_reference([single], header(tmp_path))
    assert "ReferencedFrameNumber" not in single


def test_instances_of_a_study_are_numbered_in_one_series(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = {name: tmp_path / "in" / f"{name}.dcm" for name in "abc"}
    for number, path in enumerate(paths.values()):
        source_files.write(path, {"SOPInstanceUID": f"1.2.9.{number}", "StudyInstanceUID": f"1.2.3.{number // 2}"})
    context, predicted = predict(paths, tmp_path)
    instances = DerivedInstances(tmp_path / "out", context, "copy")
    places: list[Place] = []
    for name, image in predicted.items():
        instances.add(image, lambda place, name=name: places.append(place) or pydicom.dcmread(paths[name]))
    assert [place.number for place in places] == [1, 2, 1]
    assert places[0].series_uid == places[1].series_uid != places[2].series_uid
    assert pydicom.dcmread(tmp_path / "out" / "a.dcm").SOPInstanceUID == "1.2.9.0"


def test_a_header_that_is_not_accepted_costs_one_instance(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = {name: tmp_path / "in" / f"{name}.dcm" for name in "ab"}
    for number, path in enumerate(paths.values()):
        source_files.write(path, {"SOPInstanceUID": f"1.2.9.{number}"})
    context, predicted = predict(paths, tmp_path)
    instances = DerivedInstances(tmp_path / "out", context, "copy")

    def refuse(place: Place) -> Dataset:
        raise ValueError(f"{place.header.PatientID} is no id")

    instances.add(predicted["a"], refuse)
    instances.add(predicted["b"], lambda place: pydicom.dcmread(paths["b"]))
    assert context.notes == {"a": ["no copy: its header is not accepted (ValueError)"]}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.dcm"]
