"""Two columns of a CSV file: every dialect of the competition's files, and what is no such file."""

import gzip
from pathlib import Path

import pytest

from pneumo.masks import csv_rows
from pneumo.masks.csv_rows import ID, MASK, PATIENT
from pneumo.runtime.errors import UserError

COLUMNS = (ID, MASK)

VARIANTS = {
    "A: header with a space, values with a leading space": b"ImageId, EncodedPixels\n1.2.3, -1\n1.2.4, 3 2 1 4\n",
    "B: header with a space": b"ImageId, EncodedPixels\n1.2.3,-1\n1.2.4,3 2 1 4\n",
    "C: plain": b"ImageId,EncodedPixels\n1.2.3,-1\n1.2.4,3 2 1 4\n",
    "D: no header, byte order mark, mixed spacing": b"\xef\xbb\xbf1.2.3,-1\n1.2.4, 3 2 1 4\n",
    "byte order mark and header": b"\xef\xbb\xbfImageId,EncodedPixels\n1.2.3,-1\n1.2.4,3 2 1 4\n",
    "quoted": b'"ImageId", "EncodedPixels"\n"1.2.3", "-1"\n"1.2.4", "3 2 1 4"\n',
    "Windows line ends, no last one": b"ImageId,EncodedPixels\r\n1.2.3,-1\r\n1.2.4,3 2 1 4",
    "old Mac line ends": b"ImageId,EncodedPixels\r1.2.3,-1\r1.2.4,3 2 1 4\r",
    "blank lines": b"\nImageId,EncodedPixels\n\n1.2.3,-1\n,\n1.2.4,3 2 1 4\n\n",
    "an index column and another one": b",imageid,Label,encodedpixels\n0,1.2.3,no,-1\n1,1.2.4,yes,3 2 1 4\n",
    "blank lines of a spreadsheet among old Mac line ends": b"ImageId,EncodedPixels\r,\r\r1.2.3,-1\r1.2.4,3 2 1 4",
    "mixed line ends": b"ImageId,EncodedPixels\r\n1.2.3,-1\r1.2.4,3 2 1 4\n",
    "nameless columns beside, twice": b",ImageId,EncodedPixels,\n0,1.2.3,-1,\n1,1.2.4,3 2 1 4,\n",
    "other columns of one name": b"x,ImageId,x,EncodedPixels\n0,1.2.3,0,-1\n1,1.2.4,0,3 2 1 4\n",
    "ten thousand columns": b"ImageId,EncodedPixels"
    + b",x" * 10_000
    + b"\n1.2.3,-1"
    + b"," * 10_000
    + b"\n1.2.4,3 2 1 4"
    + b"," * 10_000,
    "no-break spaces around": "ImageId,EncodedPixels\n1.2.3\u00a0,-1\n1.2.4,\u00a03 2 1 4\n".encode(),
    "several spaces around a mask": b"ImageId,EncodedPixels\n1.2.3,-1\n1.2.4,  3 2 1 4  \n",
}


@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_every_dialect_loads(table, data):
    rows = list(csv_rows.read(table(data), COLUMNS))
    assert [(row.image_id, row.value) for row in rows] == [("1.2.3", "-1"), ("1.2.4", "3 2 1 4")]
    assert rows[0].line < rows[1].line


def test_ids_that_look_like_something_else_load(table):
    ids = ["{6F9619FF-8B86}", "[a]", "1E5", "1.2E+3a", "PK"]
    rows = csv_rows.read(table("".join(f"{image_id},-1\n" for image_id in ids).encode()), COLUMNS)
    assert [row.image_id for row in rows] == ids


def test_the_two_columns_may_be_one(table):
    assert [row.value for row in csv_rows.read(table(b"ImageId\nb\na\n"), (ID, ID))] == ["b", "a"]


def test_a_header_that_is_required_is_not_guessed(table):
    path = table(b"a,-1\n")
    with pytest.raises(UserError, match="line 1 has no ImageId or PatientId"):
        list(csv_rows.read_with_header(path, (ID, PATIENT)))


BAD_FILES = {
    "empty file": (b"", "is empty"),
    "blank lines only": (b"\n\n,\n", "is empty"),
    "header alone": (b"ImageId,EncodedPixels\n", "no rows"),
    "another header": (b"id,rle\na,-1\n", "line 1 has no ImageId or EncodedPixels"),
    "one column": (b"ImageId\na\n", "line 1 has no EncodedPixels"),
    "patients": (
        b"ImageId,PatientId\na,7\n",
        "line 1 has no EncodedPixels, but PatientId; .* check which CSV belongs to which flag",
    ),
    "ids under another name": (b"id,EncodedPixels,PatientId\na,-1,7\n", "line 1 has no ImageId; .* write the header"),
    "semicolons": (
        b"ImageId;EncodedPixels\na;-1\n",
        "but semicolons between its cells; .* commas .* in place of the semicolons, in the whole file",
    ),
    "semicolons without a header": (b"a;-1\n", "no ImageId or EncodedPixels, but semicolons between its cells"),
    "tabs": (
        b"ImageId\tEncodedPixels\na\t-1\n",
        "but tabs between its cells; .* in place of the tabs, in the whole",
    ),
    "semicolons below the header": (
        b"ImageId,EncodedPixels\na;-1\n",
        "line 2 has 1 cell, and semicolons in it; expected 2 .*; .* in place of the semicolons, in the whole file",
    ),
    "a spreadsheet": (b"PK\x03\x04\x14\0\x06\0", "is a spreadsheet or an archive; .*; save the spreadsheet as CSV"),
    "an old spreadsheet": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a spreadsheet or an archive"),
    "gzip": (gzip.compress(b"a,-1\n"), "is a compressed file; .*; decompress it"),
    "JSON": (b'{\n  "dice": 0.8,\n  "n": 3\n}\n', "is JSON; .*; give the CSV file instead"),
    "JSON in one line after a byte order mark": (b'\xef\xbb\xbf[{"a": 1, "b": 2}]', "is JSON; expected a CSV file"),
    "an id that a spreadsheet has rounded": (
        b"ImageId,EncodedPixels\na,-1\n1.2276E+47,-1\n",
        r"line 3: the image id '1\.2276E\+47' is a number that a spreadsheet has rounded; .*; export the CSV again",
    ),
    "such an id of another country": (
        b'b,-1\n"1,2276E+47",-1\n',
        "line 2: the image id .* is a number that a spreadsheet has rounded",
    ),
    "three cells": (b"ImageId,EncodedPixels\na,-1\nb,1,2\n", "line 3 has 3 cells; expected 2"),
    "one cell": (b"ImageId,EncodedPixels\na\n", "line 2 has 1 cell; expected 2 .*; correct the line"),
    "blank id": (b"ImageId,EncodedPixels\n ,-1\n", "line 2 has no image id"),
    "Latin-1": (b"ImageId,EncodedPixels\na,-1\n\xe9,-1\n", "line 3 is not UTF-8"),
    "Latin-1 among old Mac line ends": (b"ImageId,EncodedPixels\ra,-1\r\xe9,-1\r", "line 3 is not UTF-8"),
    "cp1252": (b"ImageId,EncodedPixels\n\x93a\x94,-1\n", "line 2 is not UTF-8"),
    "UTF-16, big-endian": ("\ufeffImageId,EncodedPixels\na,-1\n".encode("utf-16-be"), "line 1 is not UTF-8"),
    "UTF-16 without a byte order mark": (
        "ImageId,EncodedPixels\na,-1\n".encode("utf-16-le"),
        "line 1 has no ImageId",
    ),
    "UTF-32": ("ImageId,EncodedPixels\na,-1\n".encode("utf-32"), "line 1 is not UTF-8"),
    "UTF-7's and overlong bytes": (b"a,-1\n\xc0\xaf,-1\n", "line 2 is not UTF-8"),
    "UTF-16": ("ImageId,EncodedPixels\na,-1\n".encode("utf-16"), "line 1 is not UTF-8"),
    "open quote": (b'ImageId,EncodedPixels\n"a,-1\n', "line 2 is not CSV"),
    "open quote far above the end": (b'a,-1\n"b,-1\n' + b"c,-1\n" * 1000, "line 2 is not CSV: unexpected end"),
    "open quote closed by the next one": (b'"a,-1\n"b",-1\n', "line 1 is not CSV"),
    "a quote over three lines": (b'a,-1\n"b,-1\nc,-1\n"\n', "line 4 has 1 cell; expected 2"),
    "negative gap": (b"a,-1 2\n", "no ImageId or EncodedPixels"),
    "10 MB of id": (b"b,-1\n" + b"x" * 10_000_000 + b",-1\n", "line 2: the image id .* has 10000000 characters"),
    "10 MB of commas": (b"b,-1\n" + b"," * 10_000_000 + b"x\n", "line 2 has 10000001 cells; expected 2"),
    "NUL in an id": (b"b,-1\na\0,-1\n", "line 2: the image id 'a.x00' has characters that are not printable"),
    "NUL bytes alone": (b"\0" * 1000, "has no ImageId"),
    "escape sequence": (b"b,-1\n\x1b[2J,-1\n", "line 2: .* are not printable"),
    "line end in an id": (b'b,-1\n"a\nc",-1\n', "line 3: .* are not printable"),
    "formula": (b"b,-1\n=cmd|' /C calc'!A0,-1\n", "line 2: .*would be run as a formula by a spreadsheet"),
    "formula behind white space": (b"b,-1\n\t@SUM(1),-1\n", "line 2: .*formula"),
    "formula for another country": (b"b,-1\na;=1+1,-1\n", "line 2: .*formula"),
    "id of -1": (b"b,-1\n-1,-1\n", "line 2: .*formula"),
    "two id columns": (b"ImageId,imageid,EncodedPixels\na,b,-1\n", "line 1 names ImageId more than once"),
    "two mask columns": (b"ImageId,EncodedPixels,EncodedPixels\na,-1,1 2\n", "names EncodedPixels more than once"),
}


@pytest.mark.parametrize(("data", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_named_with_its_line(table, data, message):
    path = table(data)
    with pytest.raises(UserError, match=message) as caught:
        list(csv_rows.read(path, COLUMNS))
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable(), "one line"
    assert len(str(caught.value)) < 1000


def test_a_device_is_refused():
    with pytest.raises(UserError, match="cannot read /dev/zero: a device"):
        list(csv_rows.read(Path("/dev/zero"), COLUMNS))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.csv: No such file"):
        list(csv_rows.read(tmp_path / "nowhere.csv", COLUMNS))


def test_a_directory_is_refused_with_the_file_to_give(tmp_path):
    with pytest.raises(UserError, match=r" is a directory; expected a CSV file .* ImageId; give the path of the file$"):
        list(csv_rows.read(tmp_path, COLUMNS))
    for name in ("z.csv", "masks.CSV", "a.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"; give the file, such as .*/masks\.CSV$"):
        list(csv_rows.read(tmp_path, COLUMNS))
