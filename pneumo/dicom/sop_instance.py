"""The identity of a DICOM object: whether it is an image by its SOP class, and its SOP Instance UID."""

from pydicom.dataset import Dataset
from pydicom.uid import UID

from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.dicom.values import text
from pneumo.masks import image_ids

NOT_IMAGES = tuple(
    f"1.2.840.10008.{suffix}"
    for suffix in (
        "1.3.10",  # DICOMDIR
        "5.1.4.1.1.9.",  # waveforms
        "5.1.4.1.1.11.",  # presentation states
        "5.1.4.1.1.30",  # parametric maps
        "5.1.4.1.1.66",  # raw data, registrations, segmentations
        "5.1.4.1.1.67",  # real world value maps
        "5.1.4.1.1.68.",  # surface scans
        "5.1.4.1.1.78.",  # eye measurements
        "5.1.4.1.1.79.",
        "5.1.4.1.1.80.",
        "5.1.4.1.1.88.",  # structured reports
        "5.1.4.1.1.90.",  # content assessments
        "5.1.4.1.1.104.",  # encapsulated documents
        "5.1.4.1.1.481.2",  # dose maps, structures, plans and treatment records; 481.1 is an X-ray image
        "5.1.4.1.1.481.3",
        "5.1.4.1.1.481.4",
        "5.1.4.1.1.481.5",
        "5.1.4.1.1.481.6",
        "5.1.4.1.1.481.7",
        "5.1.4.1.1.481.8",
        "5.1.4.1.1.481.9",
    )
)
"""Prefixes of the SOP class UIDs of objects that are not X-ray images, although some have pixel data."""
NO_UID = "SOP Instance UID that is not valid, used as the image id as it is"
"""The note of an id such as the competition's in its second stage: refusing it would leave them all out."""


def check_is_image(dataset: Dataset) -> None:
    """Check that an object is an image by its SOP class.

    Raises:
        FileRejectedError: When it is another object.
    """
    meta = dataset.file_meta
    sop_class = text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")
    if sop_class.startswith(NOT_IMAGES):
        name = UID(sop_class).name
        # pydicom returns an unknown UID as its own name, and that may be any text.
        name = "an object that is not an image" if name == sop_class else name
        raise FileRejectedError(Reason.NOT_AN_IMAGE, "header", name, "an X-ray image", "leave it out")


def instance_uid(dataset: Dataset) -> str:
    """Return the SOP Instance UID as it is, empty when there is none."""
    return text(dataset, "SOPInstanceUID") or text(dataset.file_meta, "MediaStorageSOPInstanceUID")


def find_problem(uid: str) -> str:
    """Return why a SOP Instance UID cannot be an image's id; empty when it can."""
    if not uid:
        return "no SOP Instance UID"
    return "a SOP Instance UID that is not an identifier" if image_ids.find_problem(uid) or "\\" in uid else ""


def notes_of(image_id: str) -> tuple[str, ...]:
    """Return a note when an image id is no UID: 64 characters at most, numbers without leading zeros, PS3.5 9.1."""
    return () if find_problem(image_id) or UID(image_id).is_valid else (NO_UID,)
