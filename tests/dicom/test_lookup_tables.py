"""Lookup tables as the standard has them, and as writers get them wrong: a ramp stays a ramp, or is refused by name."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pneumo.dicom import image_codec, image_file, lookup_tables
from pneumo.dicom.lookup_tables import Descriptor, InputRange
from pneumo.dicom.reader import Image
from pneumo.dicom.rejection import FileRejectedError, Reason

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SHOWN = np.rint(RAMP * (65535 / 4095))
ENTRIES = np.arange(4096, dtype=np.uint16)
ABOVE = "lookup table with entries above its number of bits shown in the range of its entries"
INVALID = "lookup table without a valid number of bits shown in the range of its entries"


def item(first: int, bits: int, entries: Any = ENTRIES, vr: str = "OW", order: str = "<", count: int = 4096) -> Dataset:
    """Return an item of a LUT sequence with its first value as a word, whatever its sign."""
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [count % 65536, first % 65536, bits])
    data = entries if vr in ("US", "SS") else entries.astype(entries.dtype.newbyteorder(order)).tobytes()
    table.add_new("LUTData", vr, data)
    return table


def read(path: Path, syntax: str = "explicit", pixels: np.ndarray = RAMP, bits: int = 12, **more: Any) -> Image:
    tables = {key: Sequence([value]) if key.endswith("Sequence") else value for key, value in more.items()}
    return image_file.read(reference.save(reference.build(pixels, bits, syntax, **tables), path / "x.dcm"))


def levels(image: Image) -> np.ndarray:
    return image_codec.decode(image.data).astype(np.int64)


RESCALED = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "deflated"])
def test_the_first_value_of_a_voi_lut_is_signed_after_a_rescale_below_zero(tmp_path: Path, syntax: str) -> None:
    image = read(tmp_path, syntax, VOILUTSequence=item(-1024, 12), **RESCALED)
    assert np.array_equal(levels(image), SHOWN)
    assert image.render_notes == ()


@pytest.mark.parametrize(("sequence", "expected"), [("VOILUTSequence", SHOWN), ("ModalityLUTSequence", SHOWN)])
@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian"])
def test_the_first_value_of_a_signed_image_is_signed(
    tmp_path: Path, syntax: str, sequence: str, expected: np.ndarray
) -> None:
    order = ">" if syntax == "big_endian" else "<"
    image = read(tmp_path, syntax, RAMP.astype(np.int16) - 2048, **{sequence: item(-2048, 12, order=order)})
    assert np.array_equal(levels(image), expected)


FIRST = {
    "unsigned": (InputRange(0, 4095), 64512, 4096, -1024),  # only so does the table meet the range
    "unsigned, beyond both": (InputRange(0, 4095), 5000, 100, 5000),
    "unsigned of 16 bits": (InputRange(0, 65535), 40000, 65536, 40000),
    "signed": (InputRange(-1024, 3071), 64512, 4096, -1024),
    "signed, below the range": (InputRange(-1024, 3071), 65536 - 2000, 4096, -2000),
    "rescaled beyond signed words": (InputRange(-1024, 64511), 40000, 1000, 40000),
    "rescaled beyond words": (InputRange(100_000, 104_095), 100_000 % 65536, 4096, 100_000),
}


@pytest.mark.parametrize(("range_", "word", "count", "first"), FIRST.values(), ids=FIRST)
def test_the_first_value_is_taken_modulo_2_16_relative_to_the_input(
    range_: InputRange, word: int, count: int, first: int
) -> None:
    assert lookup_tables.first_mapped(Descriptor(count, word, 12), range_) == first


@pytest.mark.parametrize(("bits", "note"), [(8, ABOVE), (10, ABOVE), (32, INVALID), (0, INVALID), (7, INVALID)])
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_wrong_number_of_bits_is_replaced_by_that_of_the_entries(
    tmp_path: Path, sequence: str, bits: int, note: str
) -> None:
    image = read(tmp_path, **{sequence: item(0, bits)})
    assert np.array_equal(levels(image), SHOWN)
    assert image.render_notes == (note,)


def test_a_modality_lut_of_too_few_bits_is_not_cut_off_before_a_window(tmp_path: Path) -> None:
    image = read(tmp_path, ModalityLUTSequence=item(0, 8), WindowCenter=2048, WindowWidth=4096)
    assert np.abs(levels(image) - SHOWN).max() <= 1
    assert image.render_notes == (ABOVE,)


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian"])
def test_entries_are_unsigned_in_vr_ss(tmp_path: Path, syntax: str) -> None:
    signed = [number - 65536 if number > 32767 else number for number in range(0, 65536, 16)]
    image = read(tmp_path, syntax, VOILUTSequence=item(0, 16, signed, "SS"))
    assert np.array_equal(levels(image), RAMP.astype(int) * 16)
    assert image.render_notes == ()


def test_negative_entries_of_less_than_16_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRejectedError, match="a lookup table with negative entries") as caught:
        read(tmp_path, VOILUTSequence=item(0, 12, [number - 1 for number in range(4096)], "SS"))
    assert (caught.value.reason, caught.value.phase) == (Reason.BAD_FRAME, "render")


def test_no_entries_mean_65536(tmp_path: Path) -> None:
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = read(
        tmp_path, "explicit", pixels, 16, VOILUTSequence=item(0, 16, np.arange(65536, dtype=np.uint16)[::-1], count=0)
    )
    assert np.array_equal(levels(image), 65535 - pixels.astype(int))


BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)
INVERTED = np.arange(256, dtype=np.uint8)[::-1]


def packed(entries: np.ndarray, order: str) -> np.ndarray:
    """Return bytes as the words that hold two, the first in the low byte, in the byte order of a file."""
    return np.frombuffer(struct.pack(f"{order}128H", *entries.astype("<u1").view("<u2")), np.uint8)


@pytest.mark.parametrize("vr", ["OW", "OB", "US"])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("syntax", ["explicit", "big_endian"])
def test_8_bit_entries_are_packed_or_have_words(tmp_path: Path, syntax: str, width: int, vr: str) -> None:
    order = ">" if syntax == "big_endian" else "<"
    if vr == "US":
        entries: Any = INVERTED.tolist() if width == 2 else INVERTED.copy().view("<u2").tolist()
    elif width == 2:
        entries = np.frombuffer(INVERTED.astype(f"{order}u2").tobytes(), np.uint8)
    else:
        entries = INVERTED if vr == "OB" else packed(INVERTED, order)
    image = read(tmp_path, syntax, BYTES, 8, VOILUTSequence=item(0, 8, entries, vr, count=256))
    assert np.array_equal(levels(image), (255 - BYTES.astype(int)) * 257)


CONTRADICTORY = {
    "too few entries": (item(0, 12, ENTRIES[:3000]), "a lookup table of 3000 entries"),
    "bytes under 16 bits": (item(0, 16, INVERTED, count=256), "a lookup table of 128 entries"),
    "no data": (item(0, 12, ENTRIES[:0]), "a lookup table of 0 entries"),
}


@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence"])
@pytest.mark.parametrize(("table", "found"), CONTRADICTORY.values(), ids=CONTRADICTORY)
def test_a_table_that_contradicts_its_descriptor_is_refused(
    tmp_path: Path, table: Dataset, found: str, sequence: str
) -> None:
    with pytest.raises(FileRejectedError, match=found):
        read(tmp_path, **{sequence: table})


def test_a_descriptor_without_three_values_is_refused(tmp_path: Path) -> None:
    table = item(0, 12)
    table.LUTDescriptor = [4096, 0]
    with pytest.raises(FileRejectedError, match="a LUTDescriptor of 2 values; expected three"):
        read(tmp_path, VOILUTSequence=table)
