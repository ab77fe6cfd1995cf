"""Image ids: suffixes that some append, which ids are valid; cells that a spreadsheet would run as a formula.

Spreadsheets run a cell that begins with one of a few characters as a formula, and a formula can start programs and
fetch URLs. Whoever names an image or a file could thus attack everybody who opens a CSV with that name. Such ids are
refused, since an escaped id would name no image; other cells are escaped (OWASP, CSV Injection).
"""

import re

from pneumo.runtime.errors import escape_control_characters

MAX_LENGTH = 256
"""Characters; a SOP Instance UID has 64."""

_SUFFIX = re.compile(r"(?<=.)\.(?:dcm|dicom|dic|ima|png|jpe?g)$", re.IGNORECASE)
"""Of an image's file; the files that are read may have others too."""
_SUSPECT = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20]")
_FORMULA = re.compile(r"""(?:^|(?<=[;,\t\r\n"'|]))(?=[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r\n])""")
"""Where a formula begins: at the start of the cell, or after what a spreadsheet of another locale takes for a
separator. The last four characters are full-width forms, which East Asian spreadsheets read as the first four; some
skip a tab or a line end at the start."""


def find_problem(text: str) -> str:
    """Return why a string is not a valid image id; empty when it is one."""
    if not text:
        return "is blank"
    if len(text) > MAX_LENGTH:
        return f"has {len(text)} characters, more than {MAX_LENGTH}"
    if not text.isprintable():
        return "has characters that are not printable"
    # The first search is ten times faster, and passes every UID.
    if _SUSPECT.search(text) and _FORMULA.search(text):
        return "would be run as a formula by a spreadsheet"
    return ""


def strip_suffix(image_id: str) -> str:
    """Return an image id, or a file's name, without the file suffix (``.dcm``, ``.ima``, ``.png``) that some append."""
    return _SUFFIX.sub("", image_id)


def escape_formula(cell: str) -> str:
    """Return a cell that a spreadsheet shows as text: an apostrophe before formulas, control characters escaped."""
    return _FORMULA.sub("'", escape_control_characters(cell))
