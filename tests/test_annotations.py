import os
from pathlib import Path

import numpy as np
import pytest

from pneumo import annotations, rle
from pneumo.errors import UserError

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
    assert masks.masks == {"1.2.3": "-1", "1.2.4": "3 2 1 4"}
    assert masks.order == ("1.2.3", "1.2.4")
    assert masks.rows == 2
    assert annotations.read_ids(table(data)) == ["1.2.3", "1.2.4"]


def test_rows_of_one_image_are_united(table):
    path = table(b"ImageId,EncodedPixels\nb,0 4\na,-1\nb.dcm,2 4\nb,9 1\na,-1\n")
    masks = annotations.read_masks(path)
    assert masks.masks == {"b": "0 6 3 1", "a": "-1"}
    assert masks.order == ("b", "a")
    assert masks.rows == 5


def test_a_mask_longer_than_the_csv_modules_own_limit(table):
    mask = np.zeros((512, 512), dtype=np.uint8)
    mask[::2] = 1
    text = rle.encode(mask)
    assert len(text) > 131072
    assert annotations.read_masks(table(f"a,{text}\n".encode())).masks == {"a": text}


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
    "blank mask": (b"ImageId,EncodedPixels\na,-1\nb,\n", "line 3: the mask of image b is malformed: nothing"),
    "nan": (b"ImageId,EncodedPixels\na,nan\n", "line 2: .* word 1 is not a whole number"),
    "odd count": (b"ImageId,EncodedPixels\na,1 2 3\n", "line 2: .* odd count"),
    "second header": (b"a,-1\nImageId,EncodedPixels\n", "line 2: .* word 1 is not a whole number"),
    "empty beside a mask": (b"a,-1\nb,-1\na,1 2\n", "line 3: image a has both -1 and a mask"),
    "a mask beside empty": (b"a.dcm,1 2\nb,-1\na,-1\n", "line 3: image a has both -1 and a mask"),
    "Latin-1": (b"ImageId,EncodedPixels\na,-1\n\xe9,-1\n", "line 3 is not UTF-8"),
    "UTF-16": ("ImageId,EncodedPixels\na,-1\n".encode("utf-16"), "line 1 is not UTF-8"),
    "open quote": (b'ImageId,EncodedPixels\n"a,-1\n', "line 2 is no CSV"),
}


@pytest.mark.parametrize(("data", "message"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_a_bad_mask_file_is_named_with_its_line(table, data, message):
    path = table(data)
    with pytest.raises(UserError, match=message) as caught:
        annotations.read_masks(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.csv: No such file"):
        annotations.read_masks(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        annotations.read_ids(tmp_path)


def test_ids_keep_their_order_without_duplicates_whatever_the_masks_say(table):
    path = table(b"ImageId,EncodedPixels\nID_b,1 2\nID_a.dcm,-1\nID_b,-1\nID_c,what\n")
    assert annotations.read_ids(path) == ["ID_b", "ID_a", "ID_c"]
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
    assert len(masks.masks) == 967
    assert sum(text != rle.EMPTY for text in masks.masks.values()) == 215
    assert set(annotations.read_patients(root / "dev/patients.csv")) == set(masks.masks)
    assert len(set(annotations.read_patients(root / "dev/patients.csv").values())) == 799
    assert len(annotations.read_masks(root / "sample10/train-rle-sample.csv").masks) == 10
    for text in masks.masks.values():
        assert rle.encode(rle.decode(text, 1024, 1024)) == text
