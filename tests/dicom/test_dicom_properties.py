"""Random combinations of storage and display elements, compared with pydicom and the arithmetic of the standard."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import independent_rendering
import numpy as np
import pytest
import reference_encodings as encodings
import reference_files as reference
from fuzz_oracle import lenient_pydicom
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.sequence import Sequence

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.rejection import FileRejectedError

DECIMALS = st.integers(-40000, 40000).map(lambda number: number / 8)


@st.composite
def displays(draw: st.DrawFn) -> dict[str, Any]:
    """Draw elements that define how values are displayed."""
    elements: dict[str, Any] = {}
    if draw(st.booleans()):
        slope = draw(st.sampled_from([-3.5, -1, -0.125, 0.25, 1, 2, 16]))
        elements |= {"RescaleSlope": str(slope), "RescaleIntercept": str(draw(DECIMALS))}
    if draw(st.booleans()):
        width = draw(st.integers(8, 40000)) / 8
        elements |= {"WindowCenter": str(draw(DECIMALS)), "WindowWidth": str(max(width, 1))}
        elements["VOILUTFunction"] = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    elif "RescaleSlope" not in elements and draw(st.booleans()):
        # pydicom cuts the index of an 8-bit table to 8 bits, takes few widths, and for 8-bit pixels no higher start.
        bits, first = draw(st.sampled_from([10, 12, 16])), draw(st.integers(0, 255))
        count = draw(st.integers(257, 2000))
        entries = np.random.default_rng(count).integers(0, 1 << bits, count)
        elements["VOILUTSequence"] = Sequence([reference.lut_item(first, bits, entries.tolist())])
    if draw(st.booleans()):
        elements["PresentationLUTShape"] = draw(st.sampled_from(["IDENTITY", "INVERSE"]))
    return elements


@settings(deadline=None, max_examples=400, derandomize=True)
@given(
    encoding=st.sampled_from(encodings.LOSSLESS),
    dtype=st.sampled_from(["u1", "u2", "i2"]),
    bits=st.integers(9, 16),
    # gdcm's encoders crash on an odd number of bytes.
    shape=st.tuples(st.integers(32, 50), st.integers(16, 25).map(lambda half: 2 * half)),
    seed=st.integers(0, 1 << 32),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    padding=st.none() | st.integers(0, 255),
    elements=displays(),
)
def test_any_storage_and_display_is_right(
    encoding: str, dtype: str, bits: int, shape: tuple[int, int], seed: int, photometric: str, padding: int | None,
    elements: dict[str, Any],
) -> None:  # fmt: skip
    bits = 8 if dtype == "u1" else bits
    low, high = (-(1 << bits - 1), 1 << bits - 1) if dtype == "i2" else (0, 1 << bits)
    values = np.random.default_rng(seed).integers(low, high, shape).astype(dtype)
    more = elements if padding is None else elements | {"PixelPaddingValue": padding}
    syntax = encoding if encoding in reference.NATIVE else "explicit"
    with tempfile.TemporaryDirectory() as directory, lenient_pydicom():
        path = encodings.save(
            reference.build(values, bits, syntax, photometric, **more), encoding, Path(directory) / "x"
        )
        pixels = image_codec.decode(image_file.read(path).data)
        expected = independent_rendering.render(dcmread(path))
    # One level for rounding, and one for pydicom's sums in single precision.
    assert np.abs(pixels.astype(np.float64) - expected).max() <= 2


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.binary(max_size=400), st.sampled_from([b"", bytes(128) + b"DICM", b"\x02\0\0\0", b"\x08\0\x05\0CS"]))
@example(b"", bytes(128) + b"DICM")
def test_any_bytes_are_rejected(data: bytes, beginning: bytes) -> None:
    assume(b"\xe0\x7f" not in data)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.dcm"
        path.write_bytes(beginning + data)
        with contextlib.suppress(FileRejectedError):
            header = image_file.scan(path)
            assert bool(header.image_id) != bool(header.id_problem)
        with pytest.raises(FileRejectedError):
            image_file.read(path)
