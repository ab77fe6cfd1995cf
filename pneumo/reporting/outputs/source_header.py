"""What a DICOM that is made of an image must repeat of its source: the patient, the study, and the references.

These attributes are in no dataset and no other output (see ``pneumo.dicom.attributes``): they are read from the source
again when such a DICOM is written, and go nowhere else.
"""

import re
import warnings
from datetime import date

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from pneumo.dicom.attributes import usable_spacing
from pneumo.dicom.opening import Location, open_file
from pneumo.dicom.parsing import parse
from pneumo.dicom.rejection import FileRejectedError
from pneumo.dicom.values import integer, numbers, tags, text

REFERENCES = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
)
_DATES = ("PatientBirthDate", "StudyDate")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
"""PS3.5 6.2, TM."""
_SEXES = ("M", "F", "O")
_OPTIONAL_TEXTS = ("PatientOrientation", "LossyImageCompression", "LossyImageCompressionMethod")
_ELEMENTS = tags(
    (
        *REFERENCES,
        *IDENTITY,
        *_OPTIONAL_TEXTS,
        *("SpecificCharacterSet", "Modality", "FrameOfReferenceUID", "PixelSpacing", "LossyImageCompressionRatio"),
        *("Rows", "Columns", "NumberOfFrames"),
    )
)


class CannotBeReferredTo(Exception):
    """A DICOM cannot refer to the source; the message says why, without quoting the file."""


def read(source: Location) -> Dataset:
    """Read a source's header again.

    Returns:
        Values that can be written: text in Unicode, identity as it is but for dates and a sex that are none; elements
        that are missing or cannot be read are empty, and optional ones left out. ``PixelSpacing`` is the one at the
        patient; that of the detector is none.

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
        for keyword in IDENTITY:
            setattr(header, keyword, _identity(found, keyword))
        _add_optional(header, found)
        header.Modality = text(found, "Modality")
        header.Rows, header.Columns = integer(found, "Rows"), integer(found, "Columns")
    return header


def _add_optional(header: Dataset, found: Dataset) -> None:
    for keyword in _OPTIONAL_TEXTS:
        if value := text(found, keyword):
            setattr(header, keyword, value.split("\\") if "\\" in value else value)
    if UID(text(found, "FrameOfReferenceUID")).is_valid:
        header.FrameOfReferenceUID = text(found, "FrameOfReferenceUID")
    if spacing := usable_spacing(found, "PixelSpacing"):
        header.PixelSpacing = list(spacing)
    if ratio := numbers(found, "LossyImageCompressionRatio"):
        header.LossyImageCompressionRatio = ratio
    if numbers(found, "NumberOfFrames")[:1] > [1.0]:
        header.NumberOfFrames = int(numbers(found, "NumberOfFrames")[0])


def _identity(found: Dataset, keyword: str) -> str:
    value = _decoded(found, keyword)
    if keyword == "PatientSex":
        return value if value in _SEXES else ""
    if keyword == "StudyTime":
        return value if _TIME.fullmatch(value) else ""
    return _date(value) if keyword in _DATES else value


def _date(value: str) -> str:
    """Return a date as DICOM writes it, 19970424, also of what ACR-NEMA wrote, 1997.04.24; empty when it is none."""
    try:
        return date.fromisoformat(value.replace(".", "")).strftime("%Y%m%d") if value else ""
    except ValueError:
        return ""


def _decoded(found: Dataset, keyword: str) -> str:
    """Return a text in the file's character set; empty when it is missing or cannot be converted."""
    try:
        value = found[keyword].value if keyword in found else ""
    except Exception:  # on damaged bytes pydicom raises errors of every kind
        return ""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")
