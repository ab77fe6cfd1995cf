"""What a DICOM that is made of an image must repeat of its source: the patient, the study, and the references.

These attributes are in no dataset and no other output (see ``pneumo.dicom.attributes``): they are read from the source
again when such a DICOM is written, and go nowhere else.
"""

import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from pneumo.dicom.attributes import usable_spacing
from pneumo.dicom.opening import Location, open_file
from pneumo.dicom.parsing import parse
from pneumo.dicom.rejection import FileRejectedError
from pneumo.dicom.values import integer, numbers, tags, text
from pneumo.reporting.outputs import identity

REFERENCES = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
)
_LOSSY = {
    "LossyImageCompression": re.compile("00|01"),
    "LossyImageCompressionMethod": re.compile(r"[A-Z0-9_ ]{1,16}(\\[A-Z0-9_ ]{1,16})*"),
}
"""PS3.3 C.7.6.1.1.5."""
_ELEMENTS = tags(
    (
        *REFERENCES,
        *IDENTITY,
        *_LOSSY,
        *("PatientOrientation", "SpecificCharacterSet", "Modality", "FrameOfReferenceUID", "PixelSpacing"),
        *("LossyImageCompressionRatio", "Rows", "Columns", "NumberOfFrames"),
    )
)


class CannotBeReferredTo(Exception):
    """A DICOM cannot refer to the source; the message says why, without quoting the file."""


class SourceHeader(NamedTuple):
    """What is repeated of a source."""

    dataset: Dataset
    """Values that can be written: text in Unicode, identity as ``identity.valid`` has it; elements that are missing or
    cannot be read are empty, and optional ones left out. ``PixelSpacing`` is the element of this name; that of the
    detector is none."""
    changed: tuple[str, ...]
    """Keywords of the elements that say something else in the source, which no valid DICOM may say."""


def read(source: Location) -> SourceHeader:
    """Read a source's header again.

    Raises:
        CannotBeReferredTo: When a UID is missing or none, or the file cannot be read any longer.
    """
    with config.disable_value_validation(), warnings.catch_warnings():
        # They quote the file.
        warnings.simplefilter("ignore")
        try:
            with open_file(source) as file:
                found = parse(file, _ELEMENTS, last=max(_ELEMENTS))
        except FileRejectedError as error:
            raise CannotBeReferredTo(f"the file could not be read again ({error.found})") from None
        header = Dataset()
        for keyword in REFERENCES:
            uid = text(found, keyword)
            if not UID(uid).is_valid:
                raise CannotBeReferredTo(f"the source's {keyword} {'is no UID' if uid else 'is missing'}")
            setattr(header, keyword, UID(uid))
        changed = [*_add_identity(header, found), *_add_orientation(header, found)]
        _add_optional(header, found)
        header.Modality = text(found, "Modality")
        header.Rows, header.Columns = integer(found, "Rows"), integer(found, "Columns")
    return SourceHeader(header, tuple(changed))


def _add_identity(header: Dataset, found: Dataset) -> Iterator[str]:
    """Add valid values, and yield the elements whose own ones are not."""
    for keyword in IDENTITY:
        value = _decoded(found, keyword)
        setattr(header, keyword, "" if value is None else identity.valid(keyword, value))
        if value is None or not identity.is_kept(keyword, value):
            yield keyword


def _add_orientation(header: Dataset, found: Dataset) -> Iterator[str]:
    value = text(found, "PatientOrientation")
    if directions := identity.orientation(value):
        header.PatientOrientation = directions
    elif value.strip("\\ "):
        yield "PatientOrientation"


def _add_optional(header: Dataset, found: Dataset) -> None:
    for keyword, pattern in _LOSSY.items():
        if pattern.fullmatch(value := text(found, keyword)):
            setattr(header, keyword, value.split("\\") if "\\" in value else value)
    if UID(text(found, "FrameOfReferenceUID")).is_valid:
        header.FrameOfReferenceUID = text(found, "FrameOfReferenceUID")
    if spacing := usable_spacing(found, "PixelSpacing"):
        header.PixelSpacing = list(spacing)
    if ratio := numbers(found, "LossyImageCompressionRatio"):
        header.LossyImageCompressionRatio = [f"{one:.6g}" for one in ratio]
    if numbers(found, "NumberOfFrames")[:1] > [1.0]:
        header.NumberOfFrames = int(numbers(found, "NumberOfFrames")[0])


def _decoded(found: Dataset, keyword: str) -> str | None:
    """Return a text in the file's character set; empty when it is missing, None when it cannot be converted."""
    try:
        value = found[keyword].value if keyword in found else ""
    except Exception:  # on damaged bytes pydicom raises errors of every kind
        return None
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")
