"""Palettes of 8 and 16 bits in both byte orders, packed or in words, and in segments."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.reader import Image
from pneumo.dicom.rejection import FileRejectedError

VALUES = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLORS = ("Red", "Green", "Blue")
NOTE = "PALETTE COLOR rendered to gray"


def palette(data: bytes, bits: int, count: int = 256, first: int = 0, segmented: bool = False) -> dict[str, Any]:
    elements: dict[str, Any] = {}
    for color in COLORS:
        elements[f"{color}PaletteColorLookupTableDescriptor"] = [count, first, bits]
        elements[f"{'Segmented' if segmented else ''}{color}PaletteColorLookupTableData"] = data
    return elements


def read(tmp_path: Path, syntax: str = "explicit", pixels: np.ndarray = VALUES, **elements: Any) -> Image:
    dataset = reference.build(pixels, None, syntax, "PALETTE COLOR", **elements)
    return image_file.read(reference.save(dataset, tmp_path / "x.dcm"))


def assert_ramp(image: Image, ramp: np.ndarray, notes: tuple[str, ...] = (NOTE,)) -> None:
    assert np.abs(image_codec.decode(image.data).astype(int).ravel() - ramp).max() <= 1
    assert image.render_notes == notes


def in_order(words: np.ndarray, syntax: str) -> bytes:
    return words.astype(">u2" if syntax == "big_endian" else "<u2").tobytes()


@pytest.mark.parametrize("syntax", reference.NATIVE)
def test_16_bit_entries(tmp_path: Path, syntax: str) -> None:
    ramp = np.arange(256) * 257
    assert_ramp(read(tmp_path, syntax, **palette(in_order(ramp, syntax), 16)), ramp)


@pytest.mark.parametrize("syntax", reference.NATIVE)
@pytest.mark.parametrize("is_packed", [True, False])
def test_8_bit_entries_packed_and_in_words(tmp_path: Path, syntax: str, is_packed: bool) -> None:
    entries = np.arange(256, dtype=np.uint8)
    words = entries.view("<u2") if is_packed else entries.astype(np.uint16)
    assert_ramp(read(tmp_path, syntax, **palette(in_order(words, syntax), 8)), np.arange(256) * 257)


def test_16_bit_entries_under_a_descriptor_of_8_are_shown_in_their_range(tmp_path: Path) -> None:
    note = "lookup table with entries above its number of bits shown in the range of its entries"
    ramp = np.arange(256) * 257
    assert_ramp(read(tmp_path, **palette(in_order(ramp, "explicit"), 8)), ramp, (NOTE, note))


def test_the_first_value_is_signed_as_the_pixels_are(tmp_path: Path) -> None:
    pixels = (VALUES.astype(np.int16) - 128).astype(np.int8)
    ramp = np.arange(256) * 257
    assert_ramp(read(tmp_path, pixels=pixels, **palette(in_order(ramp, "explicit"), 16, first=-128)), ramp)


def codes(*numbers: int, size: int = 2, syntax: str = "explicit") -> bytes:
    order = ">" if syntax == "big_endian" else "<"
    if size == 1:
        data = bytes(numbers) + b"\0" * (len(numbers) % 2)
        return in_order(np.frombuffer(data, "<u2"), syntax)
    return struct.pack(f"{order}{len(numbers)}H", *numbers)


@pytest.mark.parametrize("syntax", reference.NATIVE)
def test_segments_of_16_bits(tmp_path: Path, syntax: str) -> None:
    # Two values, a line of 126 to 127 * 257, and the same two segments again by their place in bytes.
    data = codes(0, 2, 0, 257, 1, 126, 127 * 257, 2, 2, 0, 0, syntax=syntax)
    half = np.arange(128) * 257
    expected = np.concatenate([half, half]) * 1.0
    assert_ramp(read(tmp_path, syntax, **palette(data, 16, segmented=True)), expected)


@pytest.mark.parametrize("syntax", reference.NATIVE)
def test_segments_of_8_bits(tmp_path: Path, syntax: str) -> None:
    # A value, a line, and then the line alone, from the last value on: it is flat.
    data = codes(0, 1, 0, 1, 127, 254, 2, 1, 3, 0, 0, 0, 0, 1, 255, size=1, syntax=syntax)
    line = np.rint(np.arange(128) * 2) * 257
    expected = np.concatenate([line, np.full(127, 254 * 257), [255 * 257]])
    assert_ramp(read(tmp_path, syntax, **palette(data, 8, segmented=True)), expected)


BAD = {
    "too few entries": (codes(0, 2, 0, 257), "a palette of 2 entries; expected 256"),
    "cut off": (codes(0, 300, 5, 6), "a palette segment that is cut off"),
    "a line first": (codes(1, 256, 65535), "a palette that begins with a line"),
    "an unknown type": (codes(7, 256, 65535), "a palette segment of type 7 and length 256"),
    "a line of no length": (codes(0, 1, 0, 1, 0, 5), "a palette segment of type 1 and length 0"),
    "a pointer to itself": (codes(0, 1, 0, 2, 1, 6, 0), "a palette segment of type 2"),
}


@pytest.mark.parametrize(("data", "found"), BAD.values(), ids=BAD)
def test_segments_that_make_no_table_are_refused(tmp_path: Path, data: bytes, found: str) -> None:
    with pytest.raises(FileRejectedError, match=found):
        read(tmp_path, **palette(data, 16, segmented=True))


def test_an_image_without_its_palette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRejectedError, match="a RedPaletteColorLookupTableDescriptor of 0 values"):
        read(tmp_path)


def test_colors_with_different_bits_are_refused(tmp_path: Path) -> None:
    elements = palette(bytes(512), 16) | {"BluePaletteColorLookupTableDescriptor": [256, 0, 8]}
    with pytest.raises(FileRejectedError, match=r"a palette with entries of \[8, 16\] bits"):
        read(tmp_path, **elements)
