"""A patient's and a study's attributes as a valid DICOM has them: as they are, or as near to it as DICOM allows.

Control characters are dropped. Names and descriptions are cut to their length; an id that is too long, or several in
one, is left empty, since a part of it may be another patient's.
"""

import re
import unicodedata
from datetime import date

from pydicom.datadict import dictionary_VR

MAX_LENGTHS = {"LO": 64, "SH": 16, "PN": 64}
"""Characters at most, PS3.5 6.2; of a name in each of its three forms."""
_IDS = frozenset({"PatientID", "IssuerOfPatientID", "StudyID", "AccessionNumber"})
_NAME_FORMS, _NAME_PARTS = 3, 5
_SEXES = ("M", "F", "O")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII)
"""PS3.5 6.2, TM."""
_OPPOSITES = ("AP", "LR", "HF")
"""Anterior and posterior, left and right, head and foot."""


def valid(keyword: str, value: str) -> str:
    """Return a valid value of an attribute that is the given one or near to it; empty when there is none.

    Args:
        keyword: Of an element whose VR is PN, LO, SH, DA, TM or, for the patient's sex, CS.
        value: In Unicode, several values joined by backslashes.
    """
    vr = dictionary_VR(keyword)
    if vr == "DA":
        return _date(value.strip())
    if vr == "TM":
        return value.strip() if _TIME.fullmatch(value.strip()) else ""
    if vr == "CS":
        return value.strip() if value.strip() in _SEXES else ""
    plain = "".join(character for character in value if unicodedata.category(character) not in ("Cc", "Cs")).strip()
    if vr == "PN":
        return _name(plain)
    if keyword in _IDS:
        return plain if len(plain) <= MAX_LENGTHS[vr] and "\\" not in plain else ""
    return plain.replace("\\", " ")[: MAX_LENGTHS[vr]].strip()


def is_kept(keyword: str, value: str) -> bool:
    """Return whether an attribute's valid value says what the given one says: equal but for padding, or an old date."""
    found = valid(keyword, value)
    return bool(found) if dictionary_VR(keyword) == "DA" and value.strip() else found == value.strip(" \0")


def orientation(value: str) -> list[str] | None:
    """Return the two directions of Patient Orientation (PS3.3 C.7.6.1.1.1); None when they are not valid.

    Args:
        value: Both, joined by a backslash.
    """
    directions = [direction.strip() for direction in value.split("\\")]
    return directions if len(directions) == 2 and all(map(_is_direction, directions)) else None


def _is_direction(letters: str) -> bool:
    """Return whether letters are one to three directions of the body, each of another axis."""
    axes = [axis for axis in _OPPOSITES for letter in letters if letter in axis]
    return 0 < len(letters) == len(axes) == len(set(axes))


def _name(value: str) -> str:
    forms = value.replace("\\", " ").split("=", _NAME_FORMS)[:_NAME_FORMS]
    parts = (form.split("^", _NAME_PARTS - 1) for form in forms)
    return "=".join("^".join(part.replace("^", " ") for part in form)[: MAX_LENGTHS["PN"]] for form in parts)


def _date(value: str) -> str:
    """Return a date as DICOM writes it, 19970424, also of what ACR-NEMA wrote, 1997.04.24; empty when it is none."""
    try:
        return date.fromisoformat(value.replace(".", "")).isoformat().replace("-", "") if value else ""
    except ValueError:
        return ""
