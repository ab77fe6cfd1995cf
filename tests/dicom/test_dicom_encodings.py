"""The same picture out of every encoding, shape and width of samples."""

import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import independent_rendering
import numpy as np
import pytest
import reference_encodings as encodings
import reference_files as reference
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import JPEG2000, JPEGExtended12Bit, JPEGLosslessSV1

from pneumo.dicom import image_codec, reader
from pneumo.dicom.rejection import DicomRejectedError, Reason

NOISE = np.random.default_rng(9).integers(0, 256, (40, 56), dtype=np.uint8)
STORAGES = (
    *(("u1", 8), ("u2", 9), ("u2", 10), ("u2", 12), ("u2", 14), ("u2", 15), ("u2", 16)),
    *(("i1", 8), ("i2", 10), ("i2", 12), ("i2", 14), ("i2", 16)),
)


def shown(path: Path) -> np.ndarray:
    """Return the picture of a file as 16-bit levels, whatever the member is."""
    pixels = image_codec.decode(reader.read(path).data)
    return pixels.astype(np.int64) * (65535 // np.iinfo(pixels.dtype).max)


def spread(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the levels of values of which the lowest and the highest occur."""
    low = -(1 << bits - 1) if values.dtype.kind == "i" else 0
    return np.rint((values.astype(np.float64) - low) / ((1 << bits) - 1) * 65535)


@pytest.mark.parametrize("encoding", encodings.LOSSLESS)
@pytest.mark.parametrize(("dtype", "bits"), STORAGES, ids=[f"{dtype}-{bits}" for dtype, bits in STORAGES])
def test_lossless_encodings_give_the_values_back(tmp_path: Path, encoding: str, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    path = encodings.save(reference.build(values, bits, syntax), encoding, tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, bits))


@pytest.mark.parametrize(("dtype", "bits"), encodings.HTJ2K)
def test_high_throughput_jpeg_2000(tmp_path: Path, dtype: str, bits: int) -> None:
    dataset, values = encodings.htj2k(dtype, bits)
    assert np.array_equal(shown(reference.save(dataset, tmp_path / "x.dcm")), spread(values, bits))


@pytest.mark.parametrize("encoding", encodings.LOSSLESS)
def test_display_elements_count_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    values = reference.gradient("i2", 12)
    elements = {"RescaleSlope": "-0.75", "RescaleIntercept": "312.5", "WindowCenter": "40.5", "WindowWidth": "900"}
    elements |= {"PixelPaddingValue": -2048, "PixelPaddingRangeLimit": -2000}
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    dataset = reference.build(values, 12, syntax, "MONOCHROME1", **elements)
    expected = independent_rendering.picture(dataset)
    path = encodings.save(dataset, encoding, tmp_path / "x.dcm")
    assert np.abs(shown(path) - expected).max() <= 1
    assert (shown(path)[values <= -2000] == 0).all()


@pytest.mark.parametrize("encoding", encodings.LOSSLESS)
def test_the_first_frame_counts_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    first = reference.gradient("u2", 12)
    values = np.stack([first, first[::-1], np.zeros_like(first)])
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    path = encodings.save(reference.build(values, 12, syntax), encoding, tmp_path / "x.dcm")
    assert reader.read(path).render_notes == ("first of 3 frames",)
    assert np.array_equal(shown(path), spread(first, 12))


SHAPES = ((1, 1), (1, 2), (1, 37), (37, 1), (2, 3), (3, 2), (7, 9), (64, 64), (255, 257))


def too_small(encoding: str, shape: tuple[int, int]) -> bool:
    """Return whether the encoders here refuse so few pixels, or crash."""
    least = {"JPEG 2000": 32, "JPEG-LS": 7, "JPEG-LS near-lossless": 7}
    return min(shape) < least.get(encoding, 1)


SHAPED = [(encoding, shape) for encoding in encodings.LOSSLESS for shape in SHAPES if not too_small(encoding, shape)]


@pytest.mark.parametrize(("encoding", "shape"), SHAPED, ids=[f"{name}, {rows}x{cols}" for name, (rows, cols) in SHAPED])
def test_every_shape_in_every_encoding(tmp_path: Path, encoding: str, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(2).integers(0, 4096, shape, dtype=np.uint16)
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    path = encodings.save(reference.build(values, 12, syntax), encoding, tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, 12))


@pytest.mark.parametrize("shape", SHAPES, ids=[f"{rows}x{columns}" for rows, columns in SHAPES])
def test_a_jpeg_of_every_shape_passes_as_it_is(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    path = reference.save(reference.build_jpeg(values), tmp_path / "x.dcm")
    image = reader.read(path)
    assert image.encoding == "jpg"
    frame = reference.encode_jpeg(values)
    assert image.data == frame + b"\0" * (len(frame) % 2)
    # gdcm's inverse transform and OpenCV's may round differently.
    assert np.abs(image_codec.decode(image.data).astype(int) - dcmread(path).pixel_array).max() <= 2


@pytest.mark.parametrize("quality", [5, 50, 75, 95, 100])
@pytest.mark.parametrize("option", ["plain", "optimised", "restarts", "progressive"])
def test_jpegs_of_every_make(tmp_path: Path, quality: int, option: str) -> None:
    options = {"optimised": cv2.IMWRITE_JPEG_OPTIMIZE, "restarts": cv2.IMWRITE_JPEG_RST_INTERVAL}
    options |= {"progressive": cv2.IMWRITE_JPEG_PROGRESSIVE}
    more = [] if option == "plain" else [options[option], 1]
    frame = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_QUALITY, quality, *more])[1].tobytes()
    path = reference.save(reference.build_jpeg(NOISE, frame), tmp_path / "x.dcm")
    # A progressive bitstream is none of Baseline's, but its picture is as good.
    assert reader.read(path).encoding == ("png" if option == "progressive" else "jpg")
    assert np.abs(shown(path) - dcmread(path).pixel_array.astype(int) * 257).max() <= 2 * 257


def test_extended_jpeg_of_8_bits_is_rendered(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE)
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    path = reference.save(dataset, tmp_path / "x.dcm")
    assert reader.read(path).encoding == "png"
    assert np.abs(shown(path) - dcmread(path).pixel_array.astype(int) * 257).max() <= 2 * 257


@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16)])
def test_lossy_jpeg_2000_is_what_another_decoder_makes_of_it(tmp_path: Path, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    dataset = reference.build(values, bits)
    dataset.compress(JPEG2000, j2k_psnr=[45], generate_instance_uid=False)
    path = reference.save(dataset, tmp_path / "x.dcm")
    expected = independent_rendering.picture(dcmread(path), "gdcm")
    assert 0 < np.abs(expected - spread(values, bits)).max() < 65535 * 0.05
    assert np.abs(shown(path) - expected).max() <= 65535 / ((1 << bits) - 1) + 1


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
def test_frames_in_every_wrapping(tmp_path: Path, encoding: str, wrap: Any) -> None:
    values = reference.gradient("u2", 12)
    path = encodings.save(reference.build(values, 12), encoding, tmp_path / "x.dcm")
    dataset = dcmread(path)
    wrap(dataset)
    assert np.array_equal(shown(reference.save(dataset, path)), spread(values, 12))


@pytest.mark.parametrize("extra", [1, 2, 7, 5000])
@pytest.mark.parametrize("syntax", reference.NATIVE)
def test_more_bytes_than_pixels_are_left_alone(tmp_path: Path, syntax: str, extra: int) -> None:
    values = reference.gradient("u1", 8)
    dataset = reference.build(values, syntax=syntax)
    dataset.PixelData = values.tobytes() + b"\xa5" * extra
    assert np.array_equal(shown(reference.save(dataset, tmp_path / "x.dcm")), spread(values, 8))


@pytest.mark.parametrize("missing", [2, 3, 1000])
@pytest.mark.parametrize("syntax", reference.NATIVE)
def test_fewer_bytes_than_pixels_are_no_picture(tmp_path: Path, syntax: str, missing: int) -> None:
    dataset = reference.build(reference.gradient("u2", 12), 12, syntax)
    dataset.PixelData = dataset.PixelData[:-missing]
    with pytest.raises(DicomRejectedError, match="less than expected") as caught:
        reader.read(reference.save(dataset, tmp_path / "x.dcm"))
    assert caught.value.reason == Reason.BAD_FRAME


def overlaid(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the values with something in the bits above the ones stored."""
    garbage = np.random.default_rng(4).integers(0, 1 << 16 - bits, values.shape) << bits
    return ((values.astype(np.int64) & (1 << bits) - 1) | garbage).astype(np.uint16).view(values.dtype)


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", "deflated", "rle", "jpeg2000"])
@pytest.mark.parametrize(("dtype", "bits"), [("u2", 10), ("u2", 12), ("u2", 15), ("i2", 12), ("i2", 14)])
def test_bits_above_the_stored_ones_are_no_pixels(tmp_path: Path, syntax: str, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    path = reference.save(reference.build(overlaid(values, bits), bits, syntax), tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, bits))


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", "deflated"])
@pytest.mark.parametrize(("dtype", "bits", "high"), [("u2", 12, 15), ("u2", 12, 13), ("i2", 12, 15), ("u2", 8, 14)])
def test_values_below_another_high_bit(tmp_path: Path, syntax: str, dtype: str, bits: int, high: int) -> None:
    values = reference.gradient(dtype, bits).astype(dtype)
    shift = high + 1 - bits
    below = np.random.default_rng(4).integers(0, 1 << shift, values.shape)
    stored = ((values.astype(np.int64) << shift) | below).astype(dtype)
    path = reference.save(reference.build(stored, bits, syntax, HighBit=high), tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, bits))


CONTRADICTORY = {"too low": (12, 10), "beyond the allocated": (12, 16), "nonsense": (12, 4711)}


@pytest.mark.parametrize(("bits", "high"), CONTRADICTORY.values(), ids=CONTRADICTORY)
@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_a_high_bit_that_cannot_be_is_refused(tmp_path: Path, syntax: str, bits: int, high: int) -> None:
    dataset = reference.build(reference.gradient("u2", 12), bits, syntax)
    dataset.HighBit = high
    with pytest.raises(DicomRejectedError, match="12 bits stored of 16 with the highest at") as caught:
        reader.read(reference.save(dataset, tmp_path / "x.dcm"))
    assert caught.value.reason == Reason.UNSUPPORTED


def test_a_high_bit_of_a_compressed_frame_is_refused(tmp_path: Path) -> None:
    # Whether its decoder's values are shifted is known to nobody.
    with pytest.raises(DicomRejectedError, match="the highest at 15"):
        dataset = reference.build(reference.gradient("u2", 12), 12, "jpeg2000")
        dataset.HighBit = 15
        reader.read(reference.save(dataset, tmp_path / "x.dcm"))


SPACINGS: dict[str, tuple[dict[str, Any], tuple[float | None, float | None]]] = {
    "square": ({"PixelSpacing": [0.143, 0.143]}, (0.143, 0.143)),
    "not square": ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
    "of the detector": ({"ImagerPixelSpacing": [0.1, 0.2]}, (0.1, 0.2)),
    "calibrated first": ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, (0.2, 0.1)),
    "an aspect ratio alone": ({"PixelAspectRatio": [2, 1]}, (None, None)),
    "none": ({}, (None, None)),
}


@pytest.mark.parametrize(("elements", "expected"), SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("jpeg", [False, True])
def test_pixels_stay_where_the_mask_has_them_whatever_their_spacing(
    tmp_path: Path, elements: dict[str, Any], expected: tuple[float | None, float | None], jpeg: bool
) -> None:
    build = reference.build_jpeg if jpeg else reference.build
    image = reader.read(reference.save(build(NOISE, **elements), tmp_path / "x.dcm"))
    plain = reader.read(reference.save(build(NOISE), tmp_path / "plain.dcm"))
    assert image.data == plain.data
    known = replace(plain.attributes, row_spacing_mm=expected[0], column_spacing_mm=expected[1])
    assert image.attributes == known


RGB = np.random.default_rng(6).integers(0, 256, (12, 20, 3), dtype=np.uint8)
YBR = convert_color_space(RGB, "RGB", "YBR_FULL")
PLANES = {"PlanarConfiguration": 1}


def subsampled(ybr: np.ndarray) -> bytes:
    """Return YBR_FULL_422 as PS3.3 C.7.6.3.1.2 stores it: two luma values, then the pair's chroma."""
    pairs = ybr.reshape(ybr.shape[0], -1, 2, 3)
    return np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], axis=-1).tobytes()


COLOURS: dict[str, tuple[Dataset, np.ndarray]] = {
    "RGB": (reference.build(RGB, photometric="RGB"), RGB),
    "RGB in planes": (
        reference.build(RGB, photometric="RGB", PixelData=RGB.transpose(2, 0, 1).tobytes(), **PLANES),
        RGB,
    ),
    "RGB of 16 bits": (reference.build(RGB.astype(np.uint16) * 257, photometric="RGB"), RGB),
    "RGB of 12 bits": (reference.build(RGB.astype(np.uint16) * 16, 12, photometric="RGB"), RGB * (255 * 16 / 4095)),
    "RGB in RLE": (reference.build(RGB, syntax="rle", photometric="RGB"), RGB),
    "RGB in big endian": (reference.build(RGB.astype(np.uint16) * 257, syntax="big_endian", photometric="RGB"), RGB),
    "YBR_FULL": (reference.build(YBR, photometric="YBR_FULL"), RGB),
    "YBR_FULL in planes": (
        reference.build(YBR, photometric="YBR_FULL", PixelData=YBR.transpose(2, 0, 1).tobytes(), **PLANES),
        RGB,
    ),
    "YBR_FULL_422": (
        reference.build(YBR, photometric="YBR_FULL_422", PixelData=subsampled(YBR)),
        convert_color_space(np.concatenate([YBR[..., :1], YBR[:, ::2, 1:].repeat(2, axis=1)], -1), "YBR_FULL", "RGB"),
    ),
}


@pytest.mark.parametrize(("dataset", "rgb"), COLOURS.values(), ids=COLOURS)
def test_colour_becomes_luma_in_every_colour_space(tmp_path: Path, dataset: Dataset, rgb: np.ndarray) -> None:
    path = reference.save(dataset, tmp_path / "x.dcm")
    image = reader.read(path)
    assert image.render_notes == (f"{dataset.PhotometricInterpretation} rendered to gray",)
    luma = rgb.astype(np.float64) @ independent_rendering.LUMA * 257
    assert np.abs(shown(path) - luma).max() <= 257


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 100])
def test_palettes(tmp_path: Path, bits: int, first: int) -> None:
    random = np.random.default_rng(bits)
    entries = random.integers(0, 1 << bits, (3, 64), dtype=f"u{bits // 8}")
    palette: dict[str, Any] = {}
    for color, table in zip(("Red", "Green", "Blue"), entries, strict=True):
        palette[f"{color}PaletteColorLookupTableDescriptor"] = [64, first, bits]
        palette[f"{color}PaletteColorLookupTableData"] = table.tobytes()
    values = random.integers(0, 256, (30, 40), dtype=np.uint8)
    path = reference.save(reference.build(values, photometric="PALETTE COLOR", **palette), tmp_path / "x.dcm")
    colors = entries.T[np.clip(values.astype(int) - first, 0, 63)]
    luma = colors.astype(np.float64) @ independent_rendering.LUMA * (65535 / ((1 << bits) - 1))
    assert np.abs(shown(path) - luma).max() <= 65535 / ((1 << bits) - 1) + 1


def test_a_lossless_jpeg_whose_scan_is_cut_is_no_picture(tmp_path: Path) -> None:
    # gdcm fills in what is missing, which pydicom hands on without a word.
    values = reference.gradient("u2", 12)
    path = encodings.save(reference.build(values, 12), "JPEG Lossless SV1", tmp_path / "x.dcm")
    dataset = dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    for length in range(len(frame) // 3, len(frame) - 4, 97):
        dataset.PixelData = encapsulate([frame[:length] + b"\xff\xd9"])
        with pytest.raises(DicomRejectedError, match="ends before the picture") as caught:
            reader.read(reference.save(dataset, path))
        assert caught.value.reason == Reason.BAD_FRAME


FATAL = {
    "precision of 20": (b"\x10\0\x28\0\x43\x01", b"\x14\0\x28\0\x43\x01", 16),
    "precision of 17": (b"\x10\0\x28\0\x43\x01", b"\x11\0\x28\0\x43\x01", 16),
    "64 bits allocated": (b"", b"", 64),
    "32 bits allocated": (b"", b"", 32),
    "12 bits in 8": (b"", b"", 8),
}


@pytest.mark.parametrize("encoding", ["JPEG Lossless SV1", "JPEG Lossless, process 14", "JPEG-LS"])
@pytest.mark.parametrize(("header", "damaged", "allocated"), FATAL.values(), ids=FATAL)
def test_what_ends_gdcm_does_not_get_there(
    tmp_path: Path, encoding: str, header: bytes, damaged: bytes, allocated: int
) -> None:
    path = encodings.save(reference.build(reference.gradient("u2", 12), 12), encoding, tmp_path / "x.dcm")
    dataset = dcmread(path)
    assert header in dataset.PixelData
    dataset.PixelData = dataset.PixelData.replace(header, damaged) if header else dataset.PixelData
    dataset.BitsAllocated = allocated
    with pytest.raises(DicomRejectedError, match="bits that fit into 8 or 16"):
        reader.read(reference.save(dataset, path))


def test_a_large_matrix_takes_seconds_and_not_the_machine(tmp_path: Path) -> None:
    values = np.arange(6000 * 5000, dtype=np.uint32).reshape(6000, 5000).astype(np.uint16) & 0x3FFF
    path = reference.save(reference.build(values, 14, WindowCenter=8000, WindowWidth=12000), tmp_path / "x.dcm")
    began = time.monotonic()
    tracemalloc.start()
    image = reader.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Against runaway costs only: it takes about a second and eighteen bytes a pixel.
    assert time.monotonic() - began < 120
    assert peak < 40 * values.size
    assert (image.attributes.rows, image.attributes.columns) == (6000, 5000)
    expected = independent_rendering.picture(dcmread(path))
    assert np.abs(image_codec.decode(image.data).astype(np.float64) - expected).max() <= 1
