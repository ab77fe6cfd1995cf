import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import LONG_S

from pneumo.masks import annotations, rle
from pneumo.runtime.errors import UserError

VARIANTS = {
    "A: header with a space, values with a leading space": b"ImageId, EncodedPixels\n1.2.3, -1\n1.2.4, 3 2 1 4\n",
    "B: header with a space": b"ImageId, EncodedPixels\n1.2.3,-1\n1.2.4,3 2 1 4\n",
    "C: plain": b"ImageId,EncodedPixels\n1.2.3,-1\n1.2.4,3 2 1 4\n",
    "D: no header, byte order mark, mixed spacing": b"\xef\xbb\xbf1.2.3,-1\n1.2.4, 3 2 1 4\n",
    "byte order mark and header": b"\xef\xbb\xbfImageId,EncodedPixels\n1.2.3,-1\n1.2.4,3 2 1 4\n",
    "suffixes": b"ImageId,EncodedPixels\n1.2.3.dcm,-1\n1.2.4.PNG,3 2 1 4\n",
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


@pytest.fixture
def table(tmp_path):
    """Write the bytes of a table and return its path."""

    def write(data: bytes) -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_of_a_mask_file_loads(table, data):
    masks = annotations.read_masks(table(data))
    assert list(masks.items()) == [("1.2.3", "-1"), ("1.2.4", "3 2 1 4")]
    assert [annotations.strip_suffix(written) for written in annotations.read_ids(table(data))] == ["1.2.3", "1.2.4"]


def test_rows_of_one_image_are_united(table):
    path = table(b"ImageId,EncodedPixels\nb,0 4\na,-1\nb.dcm,2 4\nb,9 1\na,-1\n")
    assert list(annotations.read_masks(path).items()) == [("b", "0 6 3 1"), ("a", "-1")]


def test_a_mask_longer_than_the_csv_modules_own_limit(table):
    mask = np.zeros((512, 512), dtype=np.uint8)
    mask[::2] = 1
    text = rle.encode(mask)
    assert len(text) > 131072
    assert annotations.read_masks(table(f"a,{text}\n".encode())) == {"a": text}


BAD_MASKS = {
    "empty file": (b"", "is empty"),
    "blank lines only": (b"\n\n,\n", "is empty"),
    "header alone": (b"ImageId,EncodedPixels\n", "no rows"),
    "another header": (b"id,rle\na,-1\n", "line 1 has no ImageId or EncodedPixels"),
    "one column": (b"ImageId\na\n", "line 1 has no EncodedPixels"),
    "semicolons": (b"ImageId;EncodedPixels\na;-1\n", "commas between the cells"),
    "tabs": (b"ImageId\tEncodedPixels\na\t-1\n", "commas between the cells"),
    "three cells": (b"ImageId,EncodedPixels\na,-1\nb,1,2\n", "line 3 has 3 cells; expected 2"),
    "one cell": (b"ImageId,EncodedPixels\na\n", "line 2 has 1 cells; expected 2"),
    "blank id": (b"ImageId,EncodedPixels\n ,-1\n", "line 2 has no image id"),
    "blank mask": (b"ImageId,EncodedPixels\na,-1\nb,\n", "line 3: the mask of image b is malformed: an empty string"),
    "nan": (b"ImageId,EncodedPixels\na,nan\n", "line 2: .* word 1 is not an integer"),
    "odd count": (b"ImageId,EncodedPixels\na,1 2 3\n", "line 2: .* odd count"),
    "second header": (b"a,-1\nImageId,EncodedPixels\n", "line 2: .* word 1 is not an integer"),
    "empty beside a mask": (b"a,-1\nb,-1\na,1 2\n", "line 3: image a has both -1 and a mask"),
    "a mask beside empty": (b"a.dcm,1 2\nb,-1\na,-1\n", "line 3: image a has both -1 and a mask"),
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
    "a quote over three lines": (b'a,-1\n"b,-1\nc,-1\n"\n', "line 4 has 1 cells; expected 2"),
    "negative gap": (b"a,-1 2\n", "no ImageId or EncodedPixels"),
    "negative length": (b"b,-1\na,1 -2\n", "line 2: .*-2 \\(word 2\\) is negative"),
    "-1 among numbers": (b"b,-1\na,-1 1 2\n", "line 2: .*-1 \\(word 1\\) is negative; -1 by itself is an empty mask"),
    "twice -1": (b"b,-1\na,-1 -1\n", "line 2: .* is negative"),
    "length 0": (b"b,-1\na,5 0\n", "line 2: .* run 1 has length 0"),
    "floats": (b"b,-1\na,1.0 2.0\n", "line 2: .* word 1 is not an integer"),
    "exponents": (b"b,-1\na,1 2e3\n", "line 2: .* word 2 is not an integer"),
    "infinity": (b"b,-1\na,1 inf\n", "line 2: .* word 2 is not an integer"),
    "plus sign": (b"b,-1\na,+1 2\n", "line 2: .* word 1 is not an integer"),
    "Arabic digits": ("b,-1\na,\u0663 \u0664\n".encode(), "line 2: .* is not an integer"),
    "commas in a mask": (b'b,-1\na,"1,2"\n', "line 2: .* word 1 is not an integer"),
    "past the end of any image": (b"b,-1\na,1 99999999999999999999999\n", "line 2: .* beyond any image"),
    "gaps that overflow": (b"b,-1\na," + b"9223372036854775807 1 " * 4 + b"\n", "line 2: .* beyond any image"),
    "10 MB of words": (b"b,-1\na," + b"x" * 10_000_000 + b"\n", "line 2: .* word 1 is not an integer"),
    "10 MB of digits": (b"b,-1\na,1 " + b"9" * 10_000_000 + b"\n", "line 2: .* beyond any image"),
    "10 MB of pairs and one number": (b"b,-1\na," + b"1 1 " * 2_500_000 + b"1\n", "line 2: .* odd count .*5000001"),
    "10 MB of id": (b"b,-1\n" + b"x" * 10_000_000 + b",-1\n", "line 2: the image id .* has 10000000 characters"),
    "10 MB of commas": (b"b,-1\n" + b"," * 10_000_000 + b"x\n", "line 2 has 10000001 cells; expected 2"),
    "NUL in an id": (b"b,-1\na\0,-1\n", "line 2: the image id 'a.x00' has characters that are not printable"),
    "NUL in a mask": (b"b,-1\na,1 2\0\n", "line 2: .* is not an integer"),
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


@pytest.mark.parametrize(("data", "message"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_a_bad_mask_file_is_named_with_its_line(table, data, message):
    path = table(data)
    with pytest.raises(UserError, match=message) as caught:
        annotations.read_masks(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable(), "one line"
    assert len(str(caught.value)) < 1000


MANY = """
import resource, sys
from pathlib import Path
from pneumo.masks import annotations
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
masks = annotations.read_masks(Path(sys.argv[1]))
print(len(masks), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_million_rows_load_in_bounded_memory(tmp_path):
    path = tmp_path / "many.csv"
    with path.open("w") as file:
        file.write("ImageId,EncodedPixels\n")
        for number in range(1_000_000):
            mask = "-1" if number % 5 else "1 2 3 4 " * 15
            file.write(f"1.2.826.0.1.3680043.8.498.{number}.{7919 * number},{mask}\n")
    # A process of its own, as the memory of this one has been larger already. The time-out is against a hang: it
    # takes seconds.
    words = [sys.executable, "-c", MANY, path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG_S, check=True)
    images, kilobytes = map(int, done.stdout.split())
    assert images == 1_000_000
    assert kilobytes * 1024 < 5 * path.stat().st_size


@pytest.mark.parametrize("before", ["", " "], ids=["plain", "with a leading space"])
def test_a_mask_that_a_spreadsheet_has_cut_is_named(table, before):
    text = (before + "100 10 " * 5000)[:32_767].strip()
    assert len(text) in (32_766, 32_767)
    with pytest.raises(UserError, match=r"line 2: the mask of image b has 32,76[67] characters, .*spreadsheet has cut"):
        annotations.read_masks(table(f"a,-1\nb,{before}{text}\n".encode()))
    assert "b" in annotations.read_masks(table(f"a,-1\nb,{'1 10 ' * 8000}\n".encode()))


def test_a_device_is_refused():
    with pytest.raises(UserError, match="cannot read /dev/zero: a device"):
        annotations.read_masks(Path("/dev/zero"))


def test_a_repeated_row_counts_once(table):
    masks = annotations.read_masks(table(b"a,0 4\na,0 4\nb,0 2 0 2\n"))
    assert masks == {"a": "0 4", "b": "0 2 0 2"}


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.csv: No such file"):
        annotations.read_masks(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        annotations.read_ids(tmp_path)


def test_ids_keep_their_order_without_duplicates_whatever_the_masks(table):
    path = table(b"ImageId,EncodedPixels\nID_b,1 2\nID_a.dcm,-1\nID_b,-1\nID_c,what\n")
    assert annotations.read_ids(path) == ["ID_b", "ID_a.dcm", "ID_c"]
    assert annotations.read_ids(table(b"ImageId\nb\na\nb\n")) == ["b", "a"]
    assert annotations.read_ids(table(b"\xef\xbb\xbfb,-1\na, 1 2\n")) == ["b", "a"]
    with pytest.raises(UserError, match="line 1 has no ImageId"):
        annotations.read_ids(table(b"b\na\n"))


def test_patients(table):
    path = table(b"\xef\xbb\xbfImageId, PatientId, View\na.dcm, 007,PA\nb,007,AP\na,007,PA\nc,x y,PA\n")
    assert annotations.read_patients(path) == {"a": "007", "b": "007", "c": "x y"}


BAD_PATIENTS = {
    "no header": (b"a,007\n", "line 1 has no ImageId or PatientId"),
    "no patient column": (b"ImageId,EncodedPixels\na,-1\n", "has no PatientId"),
    "blank": (b"ImageId,PatientId\na,007\nb,\n", "line 3: no patient id for image b"),
    "a formula for an id": (b"ImageId,PatientId\n=1+1,007\n", "line 2: .*formula"),
    "two patient columns": (b"ImageId,PatientId,PatientId\na,1,2\n", "line 1 names PatientId more than once"),
    "two patients": (b"ImageId,PatientId\na,007\nb,7\na,008\n", "line 4: a second patient for image a"),
}


@pytest.mark.parametrize(("data", "message"), BAD_PATIENTS.values(), ids=BAD_PATIENTS)
def test_a_bad_patient_file_is_named_with_its_line(table, data, message):
    with pytest.raises(UserError, match=message) as caught:
        annotations.read_patients(table(data))
    assert "008" not in str(caught.value), "patient ids stay out of messages"


SUFFIXES = {
    "1.2.3.dcm": "1.2.3",
    "1.2.3.DCM": "1.2.3",
    "1.2.3.dicom": "1.2.3",
    "1.2.3.png": "1.2.3",
    "1.2.3.jpg": "1.2.3",
    "1.2.3": "1.2.3",
    "ID_00dcm": "ID_00dcm",
    "1.2.dcm.3": "1.2.dcm.3",
}


@pytest.mark.parametrize(("written", "image_id"), SUFFIXES.items())
def test_strip_suffix(written, image_id):
    assert annotations.strip_suffix(written) == image_id


@pytest.mark.siim
@pytest.mark.skipif("PNEUMO_SIIM_DIR" not in os.environ, reason="PNEUMO_SIIM_DIR is not set")
def test_the_competitions_own_files():
    root = Path(os.environ["PNEUMO_SIIM_DIR"])
    masks = annotations.read_masks(root / "dev/train-rle.csv")
    assert len(masks) == 967
    assert sum(text != rle.EMPTY for text in masks.values()) == 215
    assert set(annotations.read_patients(root / "dev/patients.csv")) == set(masks)
    assert len(set(annotations.read_patients(root / "dev/patients.csv").values())) == 799
    assert len(annotations.read_masks(root / "sample10/train-rle-sample.csv")) == 10
    for text in masks.values():
        assert rle.encode(rle.decode(text, 1024, 1024)) == text
