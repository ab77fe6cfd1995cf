"""JPEG 2000 and High-Throughput JPEG 2000."""

from pathlib import Path

import independent_rendering
import numpy as np
import pytest
import reference_encodings as encodings
import reference_files as reference
from decoded_levels import shown, spread
from pydicom import dcmread
from pydicom.uid import JPEG2000


@pytest.mark.parametrize(("dtype", "bits"), encodings.HTJ2K)
def test_high_throughput_jpeg_2000(tmp_path: Path, dtype: str, bits: int) -> None:
    dataset, values = encodings.htj2k(dtype, bits)
    assert np.array_equal(shown(reference.save(dataset, tmp_path / "x.dcm")), spread(values, bits))


@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16)])
def test_lossy_jpeg_2000_is_what_another_decoder_makes_of_it(tmp_path: Path, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    dataset = reference.build(values, bits)
    dataset.compress(JPEG2000, j2k_psnr=[45], generate_instance_uid=False)
    path = reference.save(dataset, tmp_path / "x.dcm")
    expected = independent_rendering.picture(dcmread(path), "gdcm")
    assert 0 < np.abs(expected - spread(values, bits)).max() < 65535 * 0.05
    assert np.abs(shown(path) - expected).max() <= 65535 / ((1 << bits) - 1) + 1
