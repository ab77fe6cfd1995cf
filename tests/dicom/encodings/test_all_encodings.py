"""What all encodings have in common: values, shapes, frames and display elements."""

import time
import tracemalloc
from pathlib import Path
from typing import Any

import independent_rendering
import numpy as np
import pytest
import reference_encodings as encodings
import reference_files as reference
from decoded_levels import shown, spread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame

from pneumo.dicom import image_codec, image_file

STORAGES = (
    *(("u1", 8), ("u2", 9), ("u2", 10), ("u2", 12), ("u2", 14), ("u2", 15), ("u2", 16)),
    *(("i1", 8), ("i2", 10), ("i2", 12), ("i2", 14), ("i2", 16)),
)


@pytest.mark.parametrize("encoding", encodings.LOSSLESS)
@pytest.mark.parametrize(("dtype", "bits"), STORAGES, ids=[f"{dtype}-{bits}" for dtype, bits in STORAGES])
def test_lossless_encodings_keep_the_values(tmp_path: Path, encoding: str, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    path = encodings.save(reference.build(values, bits, syntax), encoding, tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, bits))


@pytest.mark.parametrize("encoding", ["JPEG Lossless, process 14", "JPEG Lossless SV1", "JPEG-LS", "JPEG 2000"])
@pytest.mark.parametrize("stored", [8, 12, 16])
def test_8_bits_under_a_header_of_16_are_noted_and_shown_in_their_range(
    tmp_path: Path, encoding: str, stored: int
) -> None:
    values = reference.gradient("u1", 8)
    dataset = dcmread(encodings.save(reference.build(values, 8), encoding, tmp_path / "x.dcm"))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, stored, stored - 1
    path = reference.save(dataset, tmp_path / "y.dcm")
    assert image_file.read(path).render_notes == (f"codestream of 8 bits under {stored} bits stored in 16",)
    assert np.array_equal(shown(path), spread(values, 8))


@pytest.mark.parametrize("encoding", encodings.LOSSLESS)
def test_display_elements_apply_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    values = reference.gradient("i2", 12)
    elements = {"RescaleSlope": "-0.75", "RescaleIntercept": "312.5", "WindowCenter": "40.5", "WindowWidth": "900"}
    elements |= {"PixelPaddingValue": -2048, "PixelPaddingRangeLimit": -2000}
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    dataset = reference.build(values, 12, syntax, "MONOCHROME1", **elements)
    expected = independent_rendering.render(dataset)
    path = encodings.save(dataset, encoding, tmp_path / "x.dcm")
    assert np.abs(shown(path) - expected).max() <= 1
    assert (shown(path)[values <= -2000] == 0).all()


@pytest.mark.parametrize("encoding", encodings.LOSSLESS)
def test_the_first_frame_is_used_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    first = reference.gradient("u2", 12)
    values = np.stack([first, first[::-1], np.zeros_like(first)])
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    path = encodings.save(reference.build(values, 12, syntax), encoding, tmp_path / "x.dcm")
    assert image_file.read(path).render_notes == ("first of 3 frames",)
    assert np.array_equal(shown(path), spread(first, 12))


SHAPES = ((1, 1), (1, 2), (1, 37), (37, 1), (2, 3), (3, 2), (7, 9), (64, 64), (255, 257))


def too_small(encoding: str, shape: tuple[int, int]) -> bool:
    """Return whether the encoder refuses so few pixels, or crashes."""
    least = {"JPEG 2000": 32, "JPEG-LS": 7, "JPEG-LS near-lossless": 7}
    return min(shape) < least.get(encoding, 1)


SHAPED = [(encoding, shape) for encoding in encodings.LOSSLESS for shape in SHAPES if not too_small(encoding, shape)]


@pytest.mark.parametrize(("encoding", "shape"), SHAPED, ids=[f"{name}, {rows}x{cols}" for name, (rows, cols) in SHAPED])
def test_every_shape_in_every_encoding(tmp_path: Path, encoding: str, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(2).integers(0, 4096, shape, dtype=np.uint16)
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    path = encodings.save(reference.build(values, 12, syntax), encoding, tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, 12))


def in_three_fragments(dataset: Dataset) -> None:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3)


def without_offset_table(dataset: Dataset) -> None:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame], has_bot=False)


def with_extended_offsets(dataset: Dataset) -> None:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    data, offsets, lengths = encapsulate_extended([frame])
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = data, offsets, lengths


@pytest.mark.parametrize("wrap", [in_three_fragments, without_offset_table, with_extended_offsets])
@pytest.mark.parametrize("encoding", ["RLE", "JPEG 2000", "JPEG Lossless SV1", "JPEG-LS"])
def test_every_encapsulation_of_a_frame(tmp_path: Path, encoding: str, wrap: Any) -> None:
    values = reference.gradient("u2", 12)
    path = encodings.save(reference.build(values, 12), encoding, tmp_path / "x.dcm")
    dataset = dcmread(path)
    wrap(dataset)
    assert np.array_equal(shown(reference.save(dataset, path)), spread(values, 12))


def overlaid(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the values with random bits above the stored ones."""
    garbage = np.random.default_rng(4).integers(0, 1 << 16 - bits, values.shape) << bits
    return ((values.astype(np.int64) & (1 << bits) - 1) | garbage).astype(np.uint16).view(values.dtype)


EVERY_SYNTAX = ["implicit", "explicit", "big_endian", "deflated", "rle", "jpeg2000"]


@pytest.mark.parametrize("syntax", EVERY_SYNTAX)
@pytest.mark.parametrize(("dtype", "bits"), [("u2", 10), ("u2", 12), ("u2", 15), ("i2", 12), ("i2", 14)])
def test_overlays_above_the_stored_bits_are_ignored(tmp_path: Path, syntax: str, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    dataset = reference.build(overlaid(values, bits), bits, syntax)
    for index, position in enumerate(range(bits, 16)):
        dataset.add_new((0x6000 + 2 * index, 0x0102), "US", position)
    path = reference.save(dataset, tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, bits))
    assert "above" not in "".join(image_file.read(path).render_notes)


@pytest.mark.parametrize("syntax", EVERY_SYNTAX[:-1])
@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_values_above_the_stored_bits_do_not_wrap(tmp_path: Path, syntax: str, dtype: str) -> None:
    values = reference.gradient(dtype, 12)
    values[0, 1:4], values[1, 1] = (4096, 5000, 16000), 2000
    window = {"WindowCenter": 2500, "WindowWidth": 5000, "VOILUTFunction": "LINEAR_EXACT"}
    plain, windowed = (tmp_path / name for name in ("plain.dcm", "windowed.dcm"))
    reference.save(reference.build(values, 12, syntax), plain)
    reference.save(reference.build(values, 12, syntax, **window), windowed)
    for path in (plain, windowed):
        assert "pixels above Bits Stored keep their value" in image_file.read(path).render_notes
    low, high = (-2048, 2047) if dtype == "i2" else (0, 4095)
    expected = (np.clip(values.astype(float), low, high) - low) * 65535 / (high - low)
    assert np.abs(shown(plain) - expected).max() <= 1
    assert np.abs(shown(windowed) - np.clip(values / 5000, 0, 1) * 65535).max() <= 1


def test_a_large_matrix_takes_bounded_time_and_memory(tmp_path: Path) -> None:
    values = np.arange(6000 * 5000, dtype=np.uint32).reshape(6000, 5000).astype(np.uint16) & 0x3FFF
    path = reference.save(reference.build(values, 14, WindowCenter=8000, WindowWidth=12000), tmp_path / "x.dcm")
    began = time.process_time()
    tracemalloc.start()
    image = image_file.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Wide limits: it takes about a second and eighteen bytes a pixel.
    assert time.process_time() - began < 120
    assert peak < 40 * values.size
    assert (image.attributes.rows, image.attributes.columns) == (6000, 5000)
    expected = independent_rendering.render(dcmread(path))
    assert np.abs(image_codec.decode(image.data).astype(np.float64) - expected).max() <= 1
