"""Which image ids are valid, and which cells of a CSV are escaped."""

import pytest

from pneumo.masks import image_ids

GOOD = {
    "a UID": "1.2.826.0.1.3680043.8.498.6904.1234567890.850819",
    "a UID of 64 characters": "1." + "2" * 62,
    "an id of the second stage": "ID_0123abcde",
    "with a suffix": "1.2.3.dcm",
    "a formula's characters inside": "a-b=c+d@e",
    "a comma and quotes": 'a,"b"',
    "a space inside": "patient 7",
    "not ASCII": "Röntgen-7",
    "the longest": "x" * image_ids.MAX_LENGTH,
}
BAD = {
    "blank": ("", "is blank"),
    "too long": ("x" * (image_ids.MAX_LENGTH + 1), "has 257 characters, more than 256"),
    "a program": ("=cmd|' /C calc'!A0", "formula"),
    "at": ("@SUM(1+1)", "formula"),
    "plus": ("+1+1", "formula"),
    "minus": ("-1+1", "formula"),
    "full-width equals": ("\uff1dcmd", "formula"),
    "behind a comma": ("a,=cmd", "formula"),
    "behind a semicolon, another country's comma": ("a;=cmd", "formula"),
    "behind a quote": ('"=cmd', "formula"),
    "tab": ("\t=cmd", "are not printable"),
    "carriage return": ("\r=cmd", "are not printable"),
    "line end inside": ("a\n=cmd", "are not printable"),
    "NUL": ("a\0", "are not printable"),
    "escape sequence of a terminal": ("\x1b[2J", "are not printable"),
    "bytes that are no UTF-8": ("caf\udce9", "are not printable"),
    "written from right to left": ("\u202egpj.exe", "are not printable"),
}


@pytest.mark.parametrize("image_id", GOOD.values(), ids=GOOD)
def test_valid_ids(image_id: str) -> None:
    assert image_ids.find_problem(image_id) == ""
    assert image_ids.escape_formula(image_id) == image_id


@pytest.mark.parametrize(("image_id", "message"), BAD.values(), ids=BAD)
def test_invalid_ids(image_id: str, message: str) -> None:
    assert message in image_ids.find_problem(image_id)


CELLS = {
    "study/1.2.3.dcm": "study/1.2.3.dcm",
    "": "",
    "expected 0 to 1, -1 found": "expected 0 to 1, -1 found",
    "=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
    "@x": "'@x",
    "+x": "'+x",
    "-x": "'-x",
    "\uff20x": "'\uff20x",
    "a;=b": "a;'=b",
    "a,@b": "a,'@b",
    'a"=b': "a\"'=b",
    "\t=x": r"\t=x",
    "\rx": r"\rx",
    "new\nline": r"new\nline",
    "caf\udce9": r"caf\xe9",
    "\x1b[2J": r"\x1b[2J",
}


@pytest.mark.parametrize(("cell", "shown"), CELLS.items(), ids=map(ascii, CELLS))
def test_formulas_are_escaped(cell: str, shown: str) -> None:
    assert image_ids.escape_formula(cell) == shown
    shown.encode("utf-8")


SUFFIXES = {
    "1.2.3.dcm": "1.2.3",
    "1.2.3.DCM": "1.2.3",
    "1.2.3.dicom": "1.2.3",
    "1.2.3.dic": "1.2.3",
    "im1.IMA": "im1",
    "1.2.3.png": "1.2.3",
    "1.2.3.jpg": "1.2.3",
    "1.2.3": "1.2.3",
    "ID_00dcm": "ID_00dcm",
    "1.2.dcm.3": "1.2.dcm.3",
}


@pytest.mark.parametrize(("written", "image_id"), SUFFIXES.items())
def test_strip_suffix(written, image_id):
    assert image_ids.strip_suffix(written) == image_id
