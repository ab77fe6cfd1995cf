"""View codes: those of the standard's context group, in files, and what a damaged sequence is."""

from pathlib import Path

import numpy as np
import pytest
import reference_files as reference
from pydicom import dcmread
from pydicom.sequence import Sequence
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from pneumo.dicom import image_file, projection, view_codes


def read(tmp_path: Path, value: str, scheme: str, syntax: str = "explicit") -> str:
    dataset = reference.build(
        np.zeros((3, 5), np.uint8), syntax=syntax, ViewCodeSequence=[reference.view_code(value, scheme)]
    )
    return view_codes.read(dcmread(reference.save(dataset, tmp_path / "x.dcm")))


def of_the_standard() -> dict[str, str]:
    """Return the meaning of each SNOMED CT code of CID 4010, from pydicom's copy of the standard."""
    names = {name: next(iter(codes)) for name, codes in concepts["SCT"].items()}
    return {names[name]: name for name in cid_concepts[4010]["SCT"]}


def expected(name: str) -> str:
    """Return the view that a code's name says."""
    if "Oblique" in name:
        return "OBLIQUE"
    exact = {
        "AnteroPosterior": "AP", "PosteroAnterior": "PA", "Frontal": "FRONTAL", "LeftLateral": "LL",
        "RightLateral": "RL", "Sagittal": "LATERAL", "LateralMedial": "LATERAL", "MedioLateralProjection": "LATERAL",
        "LateralProjection": "LATERAL",
    }  # fmt: skip
    return exact.get(name, "")


@pytest.mark.parametrize("scheme", ["SCT", "SRT"])
def test_every_view_of_the_standard_is_what_its_name_says(tmp_path: Path, scheme: str) -> None:
    standard = of_the_standard()
    assert len(standard) == 42
    codes = {code if scheme == "SCT" else mapping["SCT"][code]: expected(name) for code, name in standard.items()}
    assert {code: read(tmp_path, code, scheme) for code in codes} == codes
    assert set(codes.values()) == {"", "OBLIQUE", "LATERAL", "AP", "PA", "FRONTAL", "LL", "RL"}


EARLIER = {"R-10214": "PA", "R-10218": "OBLIQUE", "R-10222": "LATERAL"}


@pytest.mark.parametrize(("code", "view"), EARLIER.items())
@pytest.mark.parametrize("scheme", ["SRT", "SNM3", "99SDM"])
def test_codes_of_earlier_editions_are_known(tmp_path: Path, code: str, view: str, scheme: str) -> None:
    assert read(tmp_path, code, scheme) == view


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian", "deflated"])
def test_the_scan_reads_the_code_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    dataset = reference.build(np.zeros((3, 5), np.uint8), syntax=syntax)
    dataset.ViewCodeSequence = [reference.view_code("399173006", "SCT")]
    for undefined in (False, True):
        dataset["ViewCodeSequence"].is_undefined_length = undefined
        path = reference.save(dataset, tmp_path / "x.dcm")
        assert image_file.scan(path).exclusion == "view LL"
        assert image_file.read(path).attributes.view == "LL"


@pytest.mark.parametrize(("code", "scheme"), [("399067008", "99LOCAL"), ("399067008", ""), ("1", "SCT"), ("", "SCT")])
def test_other_codes_say_nothing(tmp_path: Path, code: str, scheme: str) -> None:
    assert read(tmp_path, code, scheme) == ""


def test_a_sequence_without_an_item_or_that_is_none_says_nothing(tmp_path: Path) -> None:
    for vr, value in (("SQ", Sequence([])), ("LO", "399067008"), ("OB", b"\xfe\xff\x00\xe0\xff\xff\xff\x7f")):
        dataset = reference.build(np.zeros((3, 5), np.uint8))
        dataset.add_new("ViewCodeSequence", vr, value)
        path = reference.save(dataset, tmp_path / "x.dcm")
        assert view_codes.read(dcmread(path)) == projection.read(dcmread(path)).view == ""
        assert image_file.scan(path).exclusion == ""


@pytest.mark.parametrize("item", [b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe0\x08\0\0\0\x08\0\0\x01SQ\xff\xff"])
def test_a_damaged_item_says_nothing(tmp_path: Path, item: bytes) -> None:
    dataset = reference.build(np.zeros((3, 5), np.uint8))
    dataset.add_new("ViewCodeSequence", "OB", item)
    data = reference.save(dataset, tmp_path / "x.dcm").read_bytes()
    (tmp_path / "x.dcm").write_bytes(data.replace(b"\x54\x00\x20\x02OB", b"\x54\x00\x20\x02SQ"))
    assert image_file.scan(tmp_path / "x.dcm").exclusion == ""
    assert image_file.read(tmp_path / "x.dcm").attributes.view == ""
