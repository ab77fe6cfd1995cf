"""The SOP class must be one of images, and the SOP Instance UID one identifier."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom import config
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RTDoseStorage,
    RTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from pneumo.dicom import image_file, sop_instance
from pneumo.dicom.rejection import FileRejectedError, Reason

VALUES = reference.gradient("u2", 12)


def whole(tmp_path: Path, name: str = "1.2.3.dcm", **more: Any) -> Path:
    return reference.save(reference.build(VALUES, 12, **more), tmp_path / name)


def unvalidated_uid(text: str) -> UID:
    with config.disable_value_validation():
        return UID(text)


BAD_IDS = {"two values": "1.2\\1.3", "control characters": "1.2\n=cmd", "too long": "1" * 300}


@pytest.mark.parametrize("uid", BAD_IDS.values(), ids=BAD_IDS)
def test_an_id_is_one_printable_word(tmp_path: Path, uid: str) -> None:
    path = whole(tmp_path, SOPInstanceUID=unvalidated_uid("MARK"))
    data = path.read_bytes()
    mark, value = b"\x08\x00\x18\x00UI\x04\x00MARK", uid.encode() + b"\0" * (len(uid) % 2)
    assert mark in data
    path.write_bytes(data.replace(mark, b"\x08\x00\x18\x00UI" + len(value).to_bytes(2, "little") + value))
    header = image_file.scan(path)
    assert (header.image_id, header.id_problem) == ("", "a SOP Instance UID that is not an identifier")


def test_an_image_without_an_id_is_read_since_its_name_may_be_the_id(tmp_path: Path) -> None:
    dataset = reference.build(VALUES, 12)
    whole_image = image_file.read(reference.save(dataset, tmp_path / "whole.dcm"))
    for name, uid in (("blank", ""), ("spaces", "  ")):
        with config.disable_value_validation():
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
            dataset.save_as(tmp_path / name, enforce_file_format=False)
        header = image_file.scan(tmp_path / name)
        assert (header.image_id, header.id_problem, header.file_stem) == ("", "no SOP Instance UID", name)
        image = image_file.read(tmp_path / name)
        assert (image.image_id, image.data) == ("", whole_image.data)


NO_UIDS = {"stage 2": "ID_0011fe81e", "leading zero": "1.02.3", "no number": "1..2", "long": f"1.{'2' * 63}"}
UIDS = {"of pydicom": reference.IMAGE_ID, "zero": "1.2.0.3", "longest": f"1.{'2' * 62}"}


@pytest.mark.parametrize("uid", [*NO_UIDS.values(), *UIDS.values()], ids=[*NO_UIDS, *UIDS])
@pytest.mark.parametrize("passed_through", [True, False])
def test_an_id_that_is_no_uid_is_kept_with_a_note(tmp_path: Path, uid: str, passed_through: bool) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    dataset = (reference.build_jpeg if passed_through else reference.build)(pixels)
    del dataset.SOPInstanceUID
    dataset.SOPInstanceUID = unvalidated_uid(uid)
    image = image_file.read(reference.save(dataset, tmp_path / "x.dcm"))
    assert (image.image_id, image.image_format) == (uid, "jpg" if passed_through else "png")
    assert image.render_notes == ((sop_instance.NO_UID,) if uid in NO_UIDS.values() else ())


@pytest.mark.siim
@pytest.mark.skipif("PNEUMO_SIIM_DIR" not in os.environ, reason="PNEUMO_SIIM_DIR is not set")
def test_the_ids_of_real_images_are_uids() -> None:
    paths = sorted(Path(os.environ["PNEUMO_SIIM_DIR"]).rglob("*.dcm"))[::10]
    assert not any(sop_instance.notes_of(image_file.scan(path).image_id) for path in paths)


def test_a_file_with_two_ids_is_refused(tmp_path: Path) -> None:
    path = whole(tmp_path)
    data = path.read_bytes()
    other = b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
    path.write_bytes(data + other)
    with pytest.raises(FileRejectedError, match="two SOP Instance UIDs") as caught:
        image_file.read(path)
    assert caught.value.reason == Reason.NO_ID


def test_the_id_of_the_meta_header_is_used_when_there_is_no_other() -> None:
    dataset = reference.build(VALUES, 12)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    assert sop_instance.instance_uid(dataset) == reference.IMAGE_ID
    del dataset.SOPInstanceUID
    assert sop_instance.instance_uid(dataset) == "1.2.9"


IMAGES = (
    *(ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage),
    *(RTImageStorage, unvalidated_uid("1.2.3")),
)


@pytest.mark.parametrize("sop_class", IMAGES, ids=lambda uid: uid.name)
def test_the_sop_classes_of_images_are_accepted(sop_class: UID) -> None:
    sop_instance.check_is_image(reference.build(VALUES, 12, SOPClassUID=sop_class))


OTHERS = (
    *(EncapsulatedPDFStorage, GrayscaleSoftcopyPresentationStateStorage, RTDoseStorage, SegmentationStorage),
    UID("1.2.840.10008.1.3.10"),
)


@pytest.mark.parametrize("sop_class", OTHERS, ids=lambda uid: uid.name)
@pytest.mark.parametrize("in_meta", [False, True], ids=["dataset", "meta header"])
def test_other_sop_classes_are_refused_by_name(sop_class: UID, in_meta: bool) -> None:
    dataset = reference.build(VALUES, 12, SOPClassUID=sop_class)
    if in_meta:
        del dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPClassUID = sop_class
    with pytest.raises(FileRejectedError) as caught:
        sop_instance.check_is_image(dataset)
    assert (caught.value.reason, caught.value.found) == (Reason.NOT_AN_IMAGE, sop_class.name)


def test_a_sop_class_that_is_free_text_is_not_repeated() -> None:
    sop_class = unvalidated_uid("1.2.840.10008.5.1.4.1.1.88.QUUX")
    with pytest.raises(FileRejectedError) as caught:
        sop_instance.check_is_image(reference.build(VALUES, 12, SOPClassUID=sop_class))
    assert caught.value.reason == Reason.NOT_AN_IMAGE
    assert "QUUX" not in str(caught.value)
