"""Read two columns of a CSV file: an image id and a value.

The competition's files come in several variants, and all of them load: a header with or without a space after the
comma, or none; a byte order mark; values with a leading space; any line ends; blank lines. Columns are found by name
where there is a header, so there may be others.
"""

import codecs
import csv
import io
import itertools
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pneumo.masks import image_ids, rle
from pneumo.runtime.errors import UserError

ID, MASK, PATIENT = "ImageId", "EncodedPixels", "PatientId"
"""Names of the columns, as the competition writes them; case does not matter when reading."""
DRAIN = "Drain"
"""Name of the column that says whether an image shows a chest drain."""

_OTHER_SEPARATORS = {"semicolons": ";", "tabs": "\t", "vertical bars": "|"}
"""What programs of other locales write in place of commas."""
_OTHER_FORMATS = {
    "a spreadsheet or an archive": (
        re.compile(rb"PK\x03\x04|\xd0\xcf\x11\xe0"),
        "save the spreadsheet as CSV in UTF-8, or unpack the archive",
    ),
    "a compressed file": (re.compile(rb"\x1f\x8b"), "decompress it"),
    # Not a brace alone: an image id may begin with one.
    "JSON": (re.compile(rb"\s*[\[{]\s*[\"\[{}\]]"), "give the CSV file instead"),
}
"""What is given in place of CSV: how it starts, and what to do."""
_SPREADSHEET_NUMBER = re.compile(r"\d(?:[.,]\d+)?[Ee]\+\d\d+")
"""What a spreadsheet makes of an id of many digits: 1.2276E+47."""
_LINE_END = re.compile(rb"\r\n?|\n")
_MAX_CELL_LENGTH = 2**31 - 1
"""Characters; a scattered full-size mask needs a few million, and Python's default limit is 131072."""


class Row(NamedTuple):
    """One row of a CSV file."""

    line: int
    """Line of the file where the row ends, counted from 1."""
    image_id: str
    """As written, white space around it removed."""
    value: str
    """The cell of the other column, white space around it removed."""


def read(path: Path, names: tuple[str, str]) -> Iterator[Row]:
    """Yield two columns: the named ones, or the ids and masks of a file that has no header.

    Args:
        path: The file.
        names: The column of the ids and that of the values; both may be the same.

    Raises:
        UserError: When the file cannot be read, does not have these columns, or has no rows.
    """
    records = _records(path)
    first = next(records)
    all_records = itertools.chain([first], records)
    if _is_mask_row(first.cells):
        yield from _by_position(path, all_records, width=2, first=0, second=1)
    else:
        yield from _by_name(path, all_records, names)


def read_with_header(path: Path, names: tuple[str, str]) -> Iterator[Row]:
    """Yield the two named columns of a file that must have a header.

    Raises:
        UserError: As ``read`` does.
    """
    return _by_name(path, _records(path), names)


class _Record(NamedTuple):
    """The cells of one row and the line where it ends."""

    line: int
    cells: list[str]


def is_spreadsheet_number(cell: str) -> bool:
    """Return whether a cell is a rounded number with an exponent, which a spreadsheet makes of a long id."""
    return _SPREADSHEET_NUMBER.fullmatch(cell) is not None


def _records(path: Path) -> Iterator[_Record]:
    """Yield the rows of a CSV file that are not blank, at least one, with white space around cells removed."""
    csv.field_size_limit(_MAX_CELL_LENGTH)
    # Decoded while it is parsed, so that a file of a million rows is in memory once and not three times.
    text = io.TextIOWrapper(io.BytesIO(_read_bytes(path)), encoding="utf-8", newline="")
    reader = csv.reader(text, skipinitialspace=True, strict=True)
    blank, end = True, 0
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            end = reader.line_num
            if any(stripped):
                blank = False
                yield _Record(end, stripped)
    except csv.Error as error:
        # An unclosed quote extends to the end of the file; the row's first line is where to look.
        raise UserError(
            f"{path} line {end + 1} is not CSV: {error}", "cells separated by commas, quotes closed", "correct the line"
        ) from error
    if blank:
        raise UserError(f"{path} is empty", f"a CSV file with a column {ID}", "check the file")


def _read_bytes(path: Path) -> bytes:
    """Return the UTF-8 text of a file, undecoded, without its byte order mark."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a directory", f"a CSV file with a column {ID}", _advise_file(path))
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise UserError(f"cannot read {path}: a device", "a CSV file", "check the path")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "a readable CSV file", "check the path") from error
    for name, (start, action) in _OTHER_FORMATS.items():
        if start.match(data.removeprefix(codecs.BOM_UTF8)):
            raise UserError(f"{path} is {name}", "a CSV file in UTF-8", action)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(data, 0, error.start)) + 1
        raise UserError(
            f"{path} line {line} is not UTF-8 text", "a CSV file in UTF-8", "save the file as CSV in UTF-8"
        ) from error
    return data.removeprefix(codecs.BOM_UTF8)


def _advise_file(directory: Path) -> str:
    """Return which file to give in place of a directory."""
    files = sorted(path for path in directory.iterdir() if path.suffix.casefold() == ".csv" and path.is_file())
    return f"give the file, such as {files[0]}" if files else "give the path of the file"


def _is_mask_row(cells: Sequence[str]) -> bool:
    """Return whether the first row of a file is data already: an id and run lengths."""
    if len(cells) != 2:
        return False
    try:
        rle.parse(cells[1])
    except rle.RleError:
        return False
    return True


def _by_name(path: Path, records: Iterator[_Record], names: tuple[str, str]) -> Iterator[Row]:
    """Yield the two named columns of a file with a header."""
    header = next(records)
    found = [cell.casefold() for cell in header.cells]
    counts = Counter(found)
    required = list(dict.fromkeys(names))
    missing = [name for name in required if not counts[name.casefold()]]
    if missing:
        separators = _other_separators(header.cells)
        instead = f", but {separators} between its cells" if separators else ""
        action = _replace(separators) if separators else "write the header, with commas between the cells"
        other = next((name for name in (MASK, PATIENT) if name not in names and counts[name.casefold()]), "")
        if other and ID not in missing:
            instead, action = f", but {other}", "check which CSV belongs to which flag"
        raise UserError(
            f"{path} line {header.line} has no {' or '.join(missing)}{instead}",
            f"a header with {','.join(required)}",
            action,
        )
    twice = [name for name in required if counts[name.casefold()] > 1]
    if twice:
        raise UserError(
            f"{path} line {header.line} names {' and '.join(twice)} more than once",
            "one column of each name",
            "remove or rename the others",
        )
    first, second = (found.index(name.casefold()) for name in names)
    row = next(records, None)
    if row is None:
        raise UserError(f"{path} has a header and no rows", "one row or more", "check the file")
    yield from _by_position(path, itertools.chain([row], records), width=len(found), first=first, second=second)


def _by_position(path: Path, records: Iterator[_Record], *, width: int, first: int, second: int) -> Iterator[Row]:
    """Yield the cells at two positions of rows that must all be ``width`` cells wide."""
    for line, cells in records:
        if len(cells) != width:
            separators = _other_separators(cells)
            raise UserError(
                f"{path} line {line} has {len(cells)} cell{'s' * (len(cells) != 1)}"
                + (f", and {separators} in it" if separators else ""),
                f"{width} as in the first line",
                _replace(separators) if separators else "correct the line",
            )
        image_id = cells[first]
        if not image_id:
            raise UserError(f"{path} line {line} has no image id", f"an {ID} in every row", "correct the line")
        if is_spreadsheet_number(image_id):
            raise UserError(
                f"{path} line {line}: the image id {image_id!r} is a number that a spreadsheet has rounded",
                "image ids with all their digits",
                "export the CSV again without opening it in a spreadsheet, or import that column as text",
            )
        if problem := image_ids.find_problem(image_id):
            raise UserError(
                f"{path} line {line}: the image id {image_id[:60]!r} {problem}",
                f"an {ID} of 1 to {image_ids.MAX_LENGTH} printable characters that is not a formula",
                "correct or remove the row",
            )
        yield Row(line, image_id, cells[second])


def _other_separators(cells: Sequence[str]) -> str:
    """Return the name of the separators in a row's only cell; empty without any."""
    if len(cells) != 1:
        return ""
    return next((name for name, separator in _OTHER_SEPARATORS.items() if separator in cells[0]), "")


def _replace(separators: str) -> str:
    return f"write commas between the cells, in place of the {separators}, in the whole file"
