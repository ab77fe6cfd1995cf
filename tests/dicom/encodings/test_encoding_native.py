"""Uncompressed pixel data: its length, and a High Bit above the bits stored."""

from pathlib import Path

import numpy as np
import pytest
import reference_files as reference
from decoded_levels import shown, spread

from pneumo.dicom import image_file
from pneumo.dicom.rejection import FileRejectedError, Reason


@pytest.mark.parametrize("extra", [1, 2, 7, 5000])
@pytest.mark.parametrize("syntax", reference.NATIVE)
def test_surplus_bytes_are_ignored(tmp_path: Path, syntax: str, extra: int) -> None:
    values = reference.gradient("u1", 8)
    dataset = reference.build(values, syntax=syntax)
    dataset.PixelData = values.tobytes() + b"\xa5" * extra
    assert np.array_equal(shown(reference.save(dataset, tmp_path / "x.dcm")), spread(values, 8))


@pytest.mark.parametrize("missing", [2, 3, 1000])
@pytest.mark.parametrize("syntax", reference.NATIVE)
def test_missing_bytes_are_refused(tmp_path: Path, syntax: str, missing: int) -> None:
    dataset = reference.build(reference.gradient("u2", 12), 12, syntax)
    dataset.PixelData = dataset.PixelData[:-missing]
    with pytest.raises(FileRejectedError, match="less than expected") as caught:
        image_file.read(reference.save(dataset, tmp_path / "x.dcm"))
    assert caught.value.reason == Reason.BAD_FRAME


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", "deflated"])
@pytest.mark.parametrize(("dtype", "bits", "high"), [("u2", 12, 15), ("u2", 12, 13), ("i2", 12, 15), ("u2", 8, 14)])
def test_values_below_a_higher_high_bit(tmp_path: Path, syntax: str, dtype: str, bits: int, high: int) -> None:
    values = reference.gradient(dtype, bits).astype(dtype)
    shift = high + 1 - bits
    below = np.random.default_rng(4).integers(0, 1 << shift, values.shape)
    stored = ((values.astype(np.int64) << shift) | below).astype(dtype)
    path = reference.save(reference.build(stored, bits, syntax, HighBit=high), tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, bits))


CONTRADICTORY = {"too low": (12, 10), "beyond the allocated": (12, 16), "nonsense": (12, 4711)}


@pytest.mark.parametrize(("bits", "high"), CONTRADICTORY.values(), ids=CONTRADICTORY)
@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_an_impossible_high_bit_is_refused(tmp_path: Path, syntax: str, bits: int, high: int) -> None:
    dataset = reference.build(reference.gradient("u2", 12), bits, syntax)
    dataset.HighBit = high
    with pytest.raises(FileRejectedError, match="12 bits stored of 16 with the highest at") as caught:
        image_file.read(reference.save(dataset, tmp_path / "x.dcm"))
    assert caught.value.reason == Reason.UNSUPPORTED


def test_a_high_bit_of_a_compressed_frame_is_refused(tmp_path: Path) -> None:
    # It is not defined whether a decoder shifts the values.
    with pytest.raises(FileRejectedError, match="the highest at 15"):
        dataset = reference.build(reference.gradient("u2", 12), 12, "jpeg2000")
        dataset.HighBit = 15
        image_file.read(reference.save(dataset, tmp_path / "x.dcm"))
