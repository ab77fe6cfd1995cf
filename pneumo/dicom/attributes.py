"""The allow-list: all attributes that leave a DICOM file, besides the pixels and the image id.

Text is only kept when it is one of the element's defined terms, so that a name typed into a wrong field is not.
"""

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pneumo.dicom import projection
from pneumo.dicom.encodings.registry import BY_TRANSFER_SYNTAX
from pneumo.dicom.values import integer, numbers, text, transfer_syntax

SEXES = frozenset({"M", "F", "O"})
"""Enumerated values of Patient's Sex, PS3.3 C.7.1.1."""
PHOTOMETRICS = frozenset(
    {
        "MONOCHROME1",
        "MONOCHROME2",
        "PALETTE COLOR",
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_PARTIAL_420",
        "YBR_ICT",
        "YBR_RCT",
    }
)
"""Defined terms of Photometric Interpretation, PS3.3 C.7.6.3.1.2."""
AGE_CAP = 90
"""The HIPAA safe harbour puts all ages over 89 into one group, which is too small to be anonymous otherwise."""
AGE_LIMIT = 120
"""A higher age is a typing error: 148 and 413 occur in the SIIM files."""
SPACINGS_MM = (0.001, 10.0)
"""No X-ray detector has smaller or larger pixels."""
AT_DETECTOR = "pixel spacing of the detector, at which areas are larger than in the patient"
"""The note of an image whose spacing is not corrected for the magnification of the projection."""

_AGE = re.compile(r"(\d{1,4})([YMWD]?)", re.ASCII)
_UNITS_A_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes that leave a DICOM file; None, zero or empty when the element is missing or malformed."""

    rows: int
    columns: int
    row_spacing_mm: float | None
    """Distance between the centers of neighboring rows: Pixel Spacing, else Imager Pixel Spacing (see
    :func:`notes_of`)."""
    column_spacing_mm: float | None
    view: str
    """View Position, such as ``PA`` or ``AP`` (see ``projection.Projection``)."""
    sex: str
    """``M``, ``F``, ``O`` or empty."""
    age_years: int | None
    """Completed years; 90 for all ages over 89."""
    transfer_syntax: str
    """UID, one of the encodings that can be read."""
    photometric: str
    """Photometric Interpretation of the file, which a rendered image no longer has."""
    bits_stored: int
    modality: str = ""
    """Such as ``CR`` or ``DX``."""
    body_part: str = ""
    """``CHEST`` or another body part."""
    presentation_intent: str = ""
    """``FOR PRESENTATION`` or ``FOR PROCESSING``."""


def read(dataset: Dataset) -> Attributes:
    """Read the allow-listed attributes of a dataset whose elements are not converted yet; never raises."""
    row_spacing, column_spacing = _spacing(dataset)
    syntax = transfer_syntax(dataset)
    shown = projection.read(dataset)
    return Attributes(
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        row_spacing_mm=row_spacing,
        column_spacing_mm=column_spacing,
        view=shown.view,
        sex=_term(dataset, "PatientSex", SEXES),
        age_years=parse_age(text(dataset, "PatientAge")),
        transfer_syntax=syntax if syntax in BY_TRANSFER_SYNTAX else "",
        photometric=_term(dataset, "PhotometricInterpretation", PHOTOMETRICS),
        bits_stored=integer(dataset, "BitsStored"),
        modality=shown.modality,
        body_part=shown.body_part,
        presentation_intent=shown.presentation_intent,
    )


def parse_age(age: str) -> int | None:
    """Return completed years from an age string such as ``081Y``, ``81`` or ``018M``, capped at 90.

    None when it is not an age, or one above 120 years.
    """
    match = _AGE.fullmatch(age.strip().upper())
    if match is None:
        return None
    years = int(int(match[1]) / _UNITS_A_YEAR[match[2]])
    return min(years, AGE_CAP) if years <= AGE_LIMIT else None


def usable_spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return the distances of rows and of columns in an element in millimeters; None when it has none, or absurd ones.

    Args:
        dataset: Whose elements are not converted yet.
        keyword: ``PixelSpacing`` or ``ImagerPixelSpacing``.
    """
    spacing = numbers(dataset, keyword)
    if len(spacing) != 2 or not all(SPACINGS_MM[0] <= mm <= SPACINGS_MM[1] for mm in spacing):
        return None
    return spacing[0], spacing[1]


def notes_of(dataset: Dataset) -> tuple[str, ...]:
    """Return a note when the pixel spacing is that of the detector.

    It is when there is no other, and when Pixel Spacing repeats it without saying how it was calibrated: then it is not
    corrected for magnification (PS3.3 10.7.1.3).
    """
    imager, spacing = usable_spacing(dataset, "ImagerPixelSpacing"), usable_spacing(dataset, "PixelSpacing")
    if imager is None or spacing not in (None, imager):
        return ()
    return () if spacing and text(dataset, "PixelSpacingCalibrationType") else (AT_DETECTOR,)


def _spacing(dataset: Dataset) -> tuple[float, float] | tuple[None, None]:
    return usable_spacing(dataset, "PixelSpacing") or usable_spacing(dataset, "ImagerPixelSpacing") or (None, None)


def _term(dataset: Dataset, keyword: str, terms: frozenset[str]) -> str:
    term = text(dataset, keyword).upper()
    return term if term in terms else ""
