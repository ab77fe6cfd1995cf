"""Color images are converted to luma, whatever their color space."""

from pathlib import Path
from typing import Any

import independent_rendering
import numpy as np
import pytest
import reference_files as reference
from decoded_levels import shown
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from pneumo.dicom import image_file

RGB = np.random.default_rng(6).integers(0, 256, (12, 20, 3), dtype=np.uint8)
YBR = convert_color_space(RGB, "RGB", "YBR_FULL")
PLANES = {"PlanarConfiguration": 1}


def subsampled(ybr: np.ndarray) -> bytes:
    """Return YBR_FULL_422 as PS3.3 C.7.6.3.1.2 stores it: two luma values, then the pair's chroma."""
    pairs = ybr.reshape(ybr.shape[0], -1, 2, 3)
    return np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], axis=-1).tobytes()


COLORS: dict[str, tuple[Dataset, np.ndarray]] = {
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


@pytest.mark.parametrize(("dataset", "rgb"), COLORS.values(), ids=COLORS)
def test_every_color_space_is_converted_to_luma(tmp_path: Path, dataset: Dataset, rgb: np.ndarray) -> None:
    path = reference.save(dataset, tmp_path / "x.dcm")
    image = image_file.read(path)
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
