import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import LONG_S

from pneumo.masks import annotations, rle
from pneumo.runtime.errors import UserError


def test_masks_are_read_in_their_order_by_the_ids_without_suffixes(table):
    path = table(b"\xef\xbb\xbfImageId, EncodedPixels\n1.2.3.dcm, -1\n1.2.4.PNG,  3 2 1 4 \n")
    assert list(annotations.read_masks(path).items()) == [("1.2.3", "-1"), ("1.2.4", "3 2 1 4")]


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
    "blank mask": (b"ImageId,EncodedPixels\na,-1\nb,\n", "line 3: image b has no mask, .*; write -1 where there is no"),
    "nan": (b"ImageId,EncodedPixels\na,NaN\n", "line 2: image a has no mask, .*; write -1 where there is no"),
    "odd count": (b"ImageId,EncodedPixels\na,1 2 3\n", "line 2: .* odd count"),
    "second header": (b"a,-1\nImageId,EncodedPixels\n", "line 2: .* word 1 is not an integer"),
    "empty beside a mask": (b"a,-1\nb,-1\na,1 2\n", "line 3: image a has both -1 and a mask"),
    "a mask beside empty": (b"a.dcm,1 2\nb,-1\na,-1\n", "line 3: image a has both -1 and a mask"),
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
    "NUL in a mask": (b"b,-1\na,1 2\0\n", "line 2: .* is not an integer"),
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


@pytest.mark.slow
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


def test_a_repeated_row_counts_once(table):
    masks = annotations.read_masks(table(b"a,0 4\na,0 4\nb,0 2 0 2\n"))
    assert masks == {"a": "0 4", "b": "0 2 0 2"}


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
    "rounded": (
        b"ImageId,PatientId\na,1.23457E+11\n",
        "line 2: the patient id of image a is a number that a spreadsheet has rounded[^0-9]*$",
    ),
    "a formula for an id": (b"ImageId,PatientId\n=1+1,007\n", "line 2: .*formula"),
    "two patient columns": (b"ImageId,PatientId,PatientId\na,1,2\n", "line 1 names PatientId more than once"),
    "two patients": (b"ImageId,PatientId\na,007\nb,7\na,008\n", "line 4: a second patient for image a"),
}


@pytest.mark.parametrize(("data", "message"), BAD_PATIENTS.values(), ids=BAD_PATIENTS)
def test_a_bad_patient_file_is_named_with_its_line(table, data, message):
    with pytest.raises(UserError, match=message) as caught:
        annotations.read_patients(table(data))
    assert "008" not in str(caught.value), "patient ids stay out of messages"


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


def test_drains_are_yes_or_no(tmp_path):
    path = tmp_path / "drains.csv"
    path.write_text("Drain, ImageId\n YES,1.2.dcm\nno,1.3\nyes,1.2\n")
    assert annotations.read_drains(path) == {"1.2": True, "1.3": False}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1.2,\n", "line 2: '' for image 1.2; expected yes or no in the column Drain"),
        ("1.2,1\n", "line 2: '1' for image 1.2; expected yes or no"),
        ("1.2,yes\n1.3,no\n1.2,no\n", "line 4: both yes and no for image 1.2; expected one of them for each image"),
    ],
)
def test_other_notes_on_drains_are_refused(tmp_path, rows, message):
    path = tmp_path / "drains.csv"
    path.write_text(f"ImageId,Drain\n{rows}")
    with pytest.raises(UserError, match=message):
        annotations.read_drains(path)
