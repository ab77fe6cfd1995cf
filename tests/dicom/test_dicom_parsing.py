import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import reference_files as reference
from pydicom import dcmread
from pydicom.tag import Tag

from pneumo.dicom import parsing
from pneumo.dicom.parsing import ElementOrder, parse
from pneumo.dicom.rejection import FileRejectedError
from pneumo.dicom.values import tags

KEYWORDS = ("SOPInstanceUID", "PatientID", "Rows", "BitsStored", "WindowCenter", "VOILUTSequence", "PixelData")


def written(path: Path, syntax: str) -> bytes:
    more = {"WindowCenter": [20, 30], "VOILUTSequence": [reference.lut_item(0, 8, [1, 2, 3])]}
    return reference.save(reference.build(reference.gradient("u2", 12), 12, syntax, **more), path).read_bytes()


@pytest.mark.parametrize("syntax", [*reference.NATIVE, *reference.COMPRESSED])
def test_the_elements_are_those_that_pydicom_reads(tmp_path: Path, syntax: str) -> None:
    data = written(tmp_path / "x.dcm", syntax)
    ours, theirs = parse(io.BytesIO(data), tags(KEYWORDS)), dcmread(io.BytesIO(data))
    for keyword in KEYWORDS:
        assert ours[keyword] == theirs[keyword], keyword
    assert set(ours.keys()) <= tags((*KEYWORDS, "SpecificCharacterSet"))
    assert ours.file_meta == theirs.file_meta
    assert ours.original_encoding == theirs.original_encoding


@pytest.mark.parametrize("syntax", [*reference.NATIVE, *reference.COMPRESSED])
def test_parsing_stops_after_the_last_element_asked_for(tmp_path: Path, syntax: str) -> None:
    data = written(tmp_path / "x.dcm", syntax)
    # What follows is not read, so it may be missing. A deflated file has to be inflated as a whole.
    short = data if syntax == "deflated" else data[: data.index(b"someone") + 10]
    dataset = parse(io.BytesIO(short), tags(KEYWORDS), last=Tag("PatientID"))
    assert dataset.keys() == tags(("SOPInstanceUID", "PatientID"))


def test_an_io_error_stays_an_io_error() -> None:
    class FailingFile(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        parse(FailingFile(), tags(KEYWORDS))


@pytest.mark.parametrize("size", [0, 1, 300, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_inflating_stops_neither_early_nor_late(size: int) -> None:
    for content in (bytes(size), np.random.default_rng(size).bytes(size)):
        stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = stream.compress(content) + stream.flush()
        assert parsing._inflate(data) == content
        # Its length is padded to an even number.
        assert parsing._inflate(data + b"\0") == content
        with pytest.raises(FileRejectedError, match="without an end"):
            parsing._inflate(data[:-1])


def test_a_file_in_implicit_vr_under_another_transfer_syntax_is_read(tmp_path: Path) -> None:
    data = written(tmp_path / "x.dcm", "implicit")
    uid = b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\0"
    assert uid in data
    mislabeled = data.replace(uid, b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0")
    dataset = parse(io.BytesIO(mislabeled), tags(KEYWORDS))
    assert dataset.Rows == 40
    assert dataset.SOPInstanceUID == reference.IMAGE_ID


@pytest.mark.parametrize("syntax", ["explicit", "deflated"])
def test_a_meta_header_without_a_preamble_is_read_the_same(tmp_path: Path, syntax: str) -> None:
    data = written(tmp_path / "x.dcm", syntax)
    whole, bare = parse(io.BytesIO(data), tags(KEYWORDS)), parse(io.BytesIO(data[132:]), tags(KEYWORDS))
    assert whole == bare
    assert whole.file_meta == bare.file_meta


def test_elements_before_group_2_do_not_belong_to_the_meta_header(tmp_path: Path) -> None:
    data = written(tmp_path / "x.dcm", "explicit")
    at = data.index(b"\x08\x00\x16\x00UI")
    dataset = parse(io.BytesIO(data[:at] + b"\x01\x00\x01\x00OB\0\0\x02\0\0\0ab" + data[at:]), tags(KEYWORDS))
    assert dataset.SOPInstanceUID == reference.IMAGE_ID


@pytest.mark.parametrize("syntax", [*reference.NATIVE, *reference.COMPRESSED])
def test_elements_that_ascend_are_known_by_their_order(tmp_path: Path, syntax: str) -> None:
    data = written(tmp_path / "x.dcm", syntax)
    order, again = ElementOrder(), ElementOrder()
    parse(io.BytesIO(data), tags(KEYWORDS), order=order)
    # Of other encodings it is not asked.
    is_explicit = not dcmread(io.BytesIO(data)).original_encoding[0] and "big" not in syntax
    assert order.ascends == is_explicit
    # An element of the beginning, again at the end: after the first pixel data, or where none of it was asked for.
    patient = b"\x10\0\x20\0LO\x04\0else"
    parse(io.BytesIO(data + patient), tags(KEYWORDS), order=again)
    assert not again.ascends or syntax == "deflated"
