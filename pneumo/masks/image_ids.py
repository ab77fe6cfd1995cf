"""Which texts may be an image's id, and which cells a spreadsheet would run.

Spreadsheets take a cell that begins with one of a few characters for a formula, and a formula can start programs and
fetch addresses. Whoever names an image or a file could so reach everybody who opens a CSV made of those names. Ids
are refused, since a changed id would name no image; other cells are shown as text (OWASP, CSV Injection).
"""

import re
from collections.abc import Iterable

from pneumo.runtime.errors import escape_control_characters

LONGEST = 256
"""Characters; a SOP Instance UID has 64."""

_SUSPECT = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20]")
_FORMULA = re.compile(r"""(?:^|(?<=[;,\t\r\n"'|]))(?=[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r\n])""")
"""Where a formula begins: at the cell's start, or behind what another country's spreadsheet takes for a separator;
the last four are full-width, which spreadsheets of East Asia read as the first four. A tab or a line end at the start
is skipped by some of them."""


def validate(text: str) -> str:
    """Say what keeps a text from being an image id; nothing when it is one."""
    if not text:
        return "is blank"
    if len(text) > LONGEST:
        return f"has {len(text)} characters, more than {LONGEST}"
    if not text.isprintable():
        return "has characters that cannot be printed"
    # The first look is ten times faster, and passes every UID.
    if _SUSPECT.search(text) and _FORMULA.search(text):
        return "would be run as a formula by a spreadsheet"
    return ""


def escape_formula(cell: str) -> str:
    """Return a cell that a spreadsheet shows as text: formulas after an apostrophe, control characters escaped."""
    return _FORMULA.sub("'", escape_control_characters(cell))


def list_some(names: Iterable[str], most: int = 3) -> str:
    """Return the number of ids and the first few of them."""
    listed = list(names)
    if not listed:
        return "none"
    more = ", ..." if len(listed) > most else ""
    return f"{len(listed)} ({', '.join(listed[:most])}{more})"
