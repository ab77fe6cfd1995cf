"""Every way to store and display gray values, compared with pydicom's own processing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from pneumo.dicom.encodings.encoding import FLAT
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.dicom.rendering import Rendered, render


def rendered(dataset: Dataset, tmp_path: Path) -> Rendered:
    with config.disable_value_validation():
        return render(dcmread(reference.save(dataset, tmp_path / "x.dcm")))


def by_pydicom(dataset: Dataset, low: float, high: float) -> np.ndarray:
    """Return pydicom's processed values with the range ``low`` to ``high`` spread over 16 bits."""
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    return np.rint((values - low) / (high - low) * 65535)


@dataclass(frozen=True)
class Case:
    """A way to store and display values, and the output range of pydicom for it."""

    dtype: str
    bits: int
    low: float
    high: float
    elements: dict[str, Any] = field(default_factory=dict)
    inverted: bool = False
    notes: tuple[str, ...] = ()


def voi(bits: int, entries: list[int], first: int = 0) -> dict[str, Any]:
    return {"VOILUTSequence": Sequence([reference.lut_item(first, bits, entries)])}


def modality(bits: int, entries: list[int], first: int = 0) -> dict[str, Any]:
    item = reference.lut_item(first, bits, entries)
    item.ModalityLUTType = "US"
    return {"ModalityLUTSequence": Sequence([item])}


def window(center: float, width: float, function: str = "", **more: Any) -> dict[str, Any]:
    return {"WindowCenter": center, "WindowWidth": width} | ({"VOILUTFunction": function} if function else {}) | more


def rescale(slope: str, intercept: str) -> dict[str, Any]:
    return {"RescaleSlope": slope, "RescaleIntercept": intercept}


SLOPE = {"RescaleSlope": "2.5", "RescaleIntercept": "-1000", "RescaleType": "US"}
CURVE = [round(4095 * (place / 4095) ** 2) for place in range(4096)]

PRESENTED = [round(1023 * (place / 255) ** 0.5) for place in range(256)]

INVERSE = "MONOCHROME2 with Presentation LUT Shape INVERSE shown inverted"
CASES = {
    "8 bits": Case("u1", 8, 0, 255),
    "10 bits": Case("u2", 10, 0, 1023),
    "12 bits": Case("u2", 12, 0, 4095),
    "14 bits": Case("u2", 14, 0, 16383),
    "16 bits": Case("u2", 16, 0, 65535),
    "9 bits": Case("u2", 9, 0, 511),
    "15 bits": Case("u2", 15, 0, 32767),
    "10 bits signed": Case("i2", 10, -512, 511),
    "14 bits signed": Case("i2", 14, -8192, 8191),
    "8 bits signed": Case("i1", 8, -128, 127),
    "12 bits signed": Case("i2", 12, -2048, 2047),
    "16 bits signed": Case("i2", 16, -32768, 32767),
    "MONOCHROME1 by shape": Case("u2", 12, 0, 4095, {"PresentationLUTShape": "INVERSE"}, True, (INVERSE,)),
    "rescaled": Case("u2", 12, -1000, 4095 * 2.5 - 1000, SLOPE),
    "rescaled downwards": Case("u2", 12, -4095, 0, {"RescaleSlope": -1, "RescaleIntercept": 0}),
    "rescaled by a fraction": Case("u2", 12, -0.5, 4095 * 0.0625 - 0.5, rescale("0.0625", "-0.5")),
    "rescaled downwards by a fraction": Case("i2", 12, 7.25 - 2047 * 0.3, 7.25 + 2048 * 0.3, rescale("-0.3", "7.25")),
    "rescaled in exponents": Case("u2", 12, 1e3, 4095 * 2e-3 + 1e3, rescale("2E-3", "1e+3")),
    # pydicom puts black, the lower end of its output, where the lowest stored value goes: here at the top.
    "window after a rescale downwards": Case("u2", 12, 0, -4095, rescale("-1", "0") | window(-2000, 1000)),
    "exact window on signed": Case("i2", 12, -2048, 2047, window(100.5, 900.25, "LINEAR_EXACT")),
    "sigmoid after rescale": Case("u2", 12, -1000, 4095 * 2.5 - 1000, SLOPE | window(3000, 4000, "SIGMOID")),
    "identity rescale": Case("u2", 12, 0, 4095, {"RescaleSlope": 1, "RescaleIntercept": 0}),
    "window": Case("u2", 12, 0, 4095, window(2000, 1500)),
    "window of width 1": Case("u2", 12, 0, 4095, window(2000, 1)),
    "window of fractions": Case("u2", 12, 0, 4095, window(1999.75, 333.3)),
    "exact window": Case("u2", 12, 0, 4095, window(2000, 1500, "LINEAR_EXACT")),
    "narrow exact window": Case("u2", 12, 0, 4095, window(2000, 0.5, "LINEAR_EXACT")),
    "sigmoid": Case("u2", 12, 0, 4095, window(2000, 1500, "SIGMOID")),
    "window beyond the values": Case("u2", 12, 0, 4095, window(9000, 1000), notes=(FLAT,)),
    "window on signed": Case("i2", 12, -2048, 2047, window(-200, 700)),
    "window after rescale": Case("u2", 12, -1000, 4095 * 2.5 - 1000, SLOPE | window(3000, 4000)),
    "window in MONOCHROME1": Case(
        "u2", 12, 0, 4095, window(2000, 1500, PresentationLUTShape="INVERSE"), True, (INVERSE,)
    ),
    "VOI LUT": Case("u2", 12, 0, 4095, voi(12, CURVE)),
    "VOI LUT to 16 bits": Case("u2", 12, 0, 65535, voi(16, [value * 16 for value in CURVE])),
    "VOI LUT to 8 bits": Case("u1", 8, 0, 255, voi(8, [255 - value for value in range(256)])),
    "VOI LUT of the middle": Case("u2", 12, 0, 1023, voi(10, list(range(1024)), first=1500)),
    "VOI LUT on signed": Case("i2", 12, 0, 1023, voi(10, list(range(1024)), first=-500)),
    "VOI LUT before window": Case("u2", 12, 0, 4095, voi(12, CURVE) | window(2000, 100)),
    "modality LUT": Case("u2", 12, 0, 4095, modality(16, CURVE)),
    "modality LUT and window": Case("u2", 12, 0, 65535, modality(16, CURVE) | window(1000, 800)),
    "modality and VOI LUT": Case("u2", 12, 0, 4095, modality(16, CURVE[::-1]) | voi(12, CURVE)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gray_values_are_displayed_as_by_pydicom(tmp_path: Path, case: Case) -> None:
    dataset = reference.build(reference.gradient(case.dtype, case.bits), case.bits, **case.elements)
    expected = by_pydicom(dataset, case.low, case.high)
    image = rendered(dataset, tmp_path)
    assert image.pixels.dtype == np.uint16
    assert image.was_monochrome1 == case.inverted
    # Half a level may round either way after the same formula in another order.
    shown = 65535 - image.pixels.astype(np.int64) if case.inverted else image.pixels
    assert np.abs(shown - expected).max() <= 1
    assert image.render_notes == case.notes


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", "deflated", "rle", "jpeg2000"])
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 10), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16)])
def test_lossless_syntaxes_give_the_same_image(tmp_path: Path, syntax: str, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    image = rendered(reference.build(values, bits, syntax), tmp_path)
    low = values.min()
    assert np.array_equal(image.pixels, np.rint((values.astype(float) - low) / ((1 << bits) - 1) * 65535))


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", "deflated"])
def test_luts_and_padding_are_read_in_every_byte_order(tmp_path: Path, syntax: str) -> None:
    values = reference.gradient("u2", 12)
    dataset = reference.build(values, 12, syntax, PixelPaddingValue=4095, **voi(12, CURVE))
    expected = by_pydicom(reference.build(values, 12, **voi(12, CURVE)), 0, 4095)
    assert np.array_equal(rendered(dataset, tmp_path).pixels, np.where(values == 4095, 0, expected))


def test_8_bits_read_back_as_the_same_floats(tmp_path: Path) -> None:
    values = reference.gradient("u1", 8, 16, 16)
    assert np.array_equal(rendered(reference.build(values), tmp_path).pixels, values.astype(int) * 257)


PADDED = {
    "a value": ({"PixelPaddingValue": 4000}, lambda v: v == 4000),
    "a range": ({"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095}, lambda v: v >= 4000),
    "a range downwards": ({"PixelPaddingValue": 100, "PixelPaddingRangeLimit": 0}, lambda v: v <= 100),
    "a limit alone": ({"PixelPaddingRangeLimit": 4095}, lambda v: v < 0),
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("elements", "is_padding"), PADDED.values(), ids=PADDED)
def test_padding_is_black(tmp_path: Path, elements: dict[str, int], is_padding: Any, photometric: str) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    plain = rendered(reference.build(values, 12, photometric=photometric), tmp_path).pixels
    image = rendered(reference.build(values, 12, photometric=photometric, **elements), tmp_path)
    assert np.array_equal(image.pixels, np.where(is_padding(values), 0, plain))


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_padding_is_not_part_of_the_range_of_signed_values(tmp_path: Path, syntax: str) -> None:
    values = reference.gradient("i2", 8).astype(np.int16)
    values[0, :5] = -2000
    image = rendered(reference.build(values, 16, syntax, PixelPaddingValue=-2000), tmp_path).pixels
    assert (image[values == -2000] == 0).all()
    assert image[values == -128].tolist() == [0] * (values == -128).sum()
    assert image.max() == 65535


@pytest.mark.parametrize("more", [{}, window(2000, 1500), voi(12, CURVE)], ids=["plain", "window", "VOI LUT"])
@pytest.mark.parametrize("inverse", [False, True])
def test_a_presentation_lut_comes_last_before_the_inversion(
    tmp_path: Path, more: dict[str, Any], inverse: bool
) -> None:
    item = reference.lut_item(0, 10, PRESENTED)
    values = reference.gradient("u2", 12)
    photometric = "MONOCHROME1" if inverse else "MONOCHROME2"
    dataset = reference.build(values, 12, photometric=photometric, PresentationLUTSequence=Sequence([item]), **more)
    shown = by_pydicom(reference.build(values, 12, **more), 0, 4095)
    # pydicom's own step spreads whatever range occurs over the table, and cuts off instead of rounding.
    expected = np.rint(np.array(PRESENTED)[np.rint(shown * 255 / 65535).astype(int)] * 65535 / 1023)
    image = rendered(dataset, tmp_path)
    near = np.abs((65535 - image.pixels.astype(int) if inverse else image.pixels) - expected) <= 1
    # A value between two entries may round to either.
    assert near.mean() > 0.98


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", ["1\\2", "inf", "abc"])
def test_a_rescale_that_is_not_a_number_is_refused(tmp_path: Path, keyword: str, value: str) -> None:
    dataset = reference.build(reference.gradient("u2", 12), 12)
    dataset.add(DataElement(keyword, "LO", value.split("\\")))
    with pytest.raises(FileRejectedError, match=f"{keyword} that is not a number"):
        rendered(dataset, tmp_path)


def test_a_slope_without_intercept_applies(tmp_path: Path) -> None:
    values = reference.gradient("u2", 12)
    image = rendered(reference.build(values, 12, RescaleSlope="-1"), tmp_path)
    assert np.array_equal(image.pixels, np.rint((4095.0 - values) * 65535 / 4095))


def test_an_unusable_padding_value_is_ignored_and_noted(tmp_path: Path) -> None:
    dataset = reference.build(reference.gradient("u2", 12), 12)
    dataset.add(DataElement("PixelPaddingValue", "US", [0, 4095]))
    image = rendered(dataset, tmp_path)
    assert image.render_notes == ("unusable padding value ignored",)
    assert image.pixels.max() == 65535


FLAT_IMAGES: dict[str, dict[str, Any]] = {
    "one value": {},
    "one value, which is padding": {"PixelPaddingValue": -7},
    "all below the window": window(500, 100),
    "a rescale that loses the values": rescale("1", "1e30"),
}


@pytest.mark.parametrize("elements", FLAT_IMAGES.values(), ids=FLAT_IMAGES)
def test_an_image_that_shows_nothing_is_noted(tmp_path: Path, elements: dict[str, Any]) -> None:
    flat = np.full((4, 4), -7, np.int16)
    flat[0, 0] = -7 if len(elements) < 2 else -8
    image = rendered(reference.build(flat, **elements), tmp_path)
    assert FLAT in image.render_notes
    assert not image.pixels.any()


def test_a_flat_color_image_is_noted(tmp_path: Path) -> None:
    image = rendered(reference.build(np.full((4, 4, 3), 9, np.uint8), photometric="RGB"), tmp_path)
    assert image.render_notes == ("RGB rendered to gray", FLAT)


def test_an_image_of_one_level_beside_its_padding_is_flat(tmp_path: Path) -> None:
    values = np.array([[0, 0], [300, 300]], np.uint16)
    assert FLAT in rendered(reference.build(values, 12, PixelPaddingValue=0), tmp_path).render_notes


def test_a_padding_range_of_every_pixel_is_left_out(tmp_path: Path) -> None:
    values = reference.gradient("u2", 12)
    image = rendered(reference.build(values, 12, PixelPaddingValue=0, PixelPaddingRangeLimit=4095), tmp_path)
    assert image.render_notes == ("padding value of every pixel ignored",)
    assert np.array_equal(image.pixels, rendered(reference.build(values, 12), tmp_path).pixels)


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_a_padding_value_has_the_sign_of_the_pixels(tmp_path: Path, vr: str, dtype: str) -> None:
    values = reference.gradient("u2", 16).astype(dtype)
    dataset = reference.build(values)
    dataset.add(DataElement("PixelPaddingValue", vr, 65000 if vr == "US" else 65000 - 65536))
    image = rendered(dataset, tmp_path).pixels
    others = rendered(reference.build(values), tmp_path).pixels
    assert np.array_equal(image, np.where(values == np.array(65000, np.uint16).astype(dtype), 0, others))


def test_a_slope_of_zero_is_left_out(tmp_path: Path) -> None:
    values = reference.gradient("u2", 12)
    image = rendered(reference.build(values, 12, **rescale("0", "5") | window(2048, 4096)), tmp_path)
    assert image.render_notes == ("rescale with a slope of 0 ignored",)
    assert np.array_equal(image.pixels, rendered(reference.build(values, 12, **window(2048, 4096)), tmp_path).pixels)


@pytest.mark.parametrize(("slope", "intercept"), [("1e308", "0"), ("-1e308", "-1e308"), ("4e305", "-1e308")])
def test_a_rescale_beyond_all_numbers_is_refused(tmp_path: Path, slope: str, intercept: str) -> None:
    with pytest.raises(FileRejectedError, match="a rescale to values beyond the largest number") as caught:
        rendered(reference.build(reference.gradient("u2", 12), 12, **rescale(slope, intercept)), tmp_path)
    assert caught.value.reason == Reason.BAD_FRAME


SHAPES = {
    "MONOCHROME1 alone": ("MONOCHROME1", "", True, ()),
    "MONOCHROME1 with INVERSE": ("MONOCHROME1", "INVERSE", True, ()),
    "MONOCHROME1 with IDENTITY": (
        "MONOCHROME1",
        "IDENTITY",
        True,
        ("MONOCHROME1 with Presentation LUT Shape IDENTITY shown inverted, as MONOCHROME1",),
    ),
    "MONOCHROME2 with IDENTITY": ("MONOCHROME2", "IDENTITY", False, ()),
    "MONOCHROME2 with INVERSE": ("MONOCHROME2", "INVERSE", True, (INVERSE,)),
    "MONOCHROME2 with another": ("MONOCHROME2", "LIN OD", False, ("unknown Presentation LUT Shape ignored",)),
}


@pytest.mark.parametrize(("photometric", "shape", "inverted", "notes"), SHAPES.values(), ids=SHAPES)
def test_photometric_interpretation_decides_with_the_shape(
    tmp_path: Path, photometric: str, shape: str, inverted: bool, notes: tuple[str, ...]
) -> None:
    values = reference.gradient("u1", 8)
    more = {"PresentationLUTShape": shape} if shape else {}
    image = rendered(reference.build(values, photometric=photometric, **more), tmp_path)
    assert (image.was_monochrome1, image.render_notes) == (inverted, notes)
    assert np.array_equal(image.pixels, (255 - values.astype(int) if inverted else values.astype(int)) * 257)


def test_32_bit_values_are_stretched_without_a_table_of_all(tmp_path: Path) -> None:
    values = np.array([[0, 1 << 20], [1 << 31, (1 << 32) - 1]], np.uint32)
    image = rendered(reference.build(values), tmp_path)
    assert image.pixels.tolist() == [[0, 16], [32768, 65535]]


WINDOWS = {
    "width 0": (window(100, 0), "unusable window ignored"),
    "negative width": (window(100, -5), "unusable window ignored"),
    "exact width 0": (window(100, 0, "LINEAR_EXACT"), "unusable window ignored"),
    "center alone": ({"WindowCenter": 100}, "unusable window ignored"),
    "no number": ({"WindowCenter": "nan", "WindowWidth": "10"}, "unusable window ignored"),
}


@pytest.mark.parametrize(("elements", "note"), WINDOWS.values(), ids=WINDOWS)
def test_unusable_windows_are_ignored_and_noted(tmp_path: Path, elements: dict[str, Any], note: str) -> None:
    values = reference.gradient("u1", 8)
    image = rendered(reference.build(values, **elements), tmp_path)
    assert image.render_notes == (note,)
    assert np.array_equal(image.pixels, values.astype(int) * 257)


def test_the_first_of_several_windows_is_used(tmp_path: Path) -> None:
    values = reference.gradient("u2", 12)
    several = rendered(reference.build(values, 12, WindowCenter=[2000, 9], WindowWidth=[1500, 9]), tmp_path)
    one = rendered(reference.build(values, 12, **window(2000, 1500)), tmp_path)
    assert np.array_equal(several.pixels, one.pixels)
    assert several.render_notes == ("first of 2 windows",)


def test_an_unknown_voi_function_is_taken_as_linear(tmp_path: Path) -> None:
    values = reference.gradient("u2", 12)
    odd = rendered(reference.build(values, 12, **window(2000, 1500, "CUBIC")), tmp_path)
    assert np.array_equal(odd.pixels, rendered(reference.build(values, 12, **window(2000, 1500)), tmp_path).pixels)
    assert odd.render_notes == ("unknown VOI LUT function taken as LINEAR",)


@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_the_first_of_several_frames_is_used(tmp_path: Path, syntax: str) -> None:
    first = reference.gradient("u1", 8)
    values = np.stack([first, np.zeros_like(first)])
    image = rendered(reference.build(values, syntax=syntax), tmp_path)
    assert image.render_notes == ("first of 2 frames",)
    assert np.array_equal(image.pixels, values[0].astype(int) * 257)


def test_color_is_converted_to_luma(tmp_path: Path) -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    image = rendered(reference.build(pixels, photometric="RGB"), tmp_path)
    assert np.abs(image.pixels / 65535 - [[0.299, 0.587], [0.114, 1]]).max() < 0.003
    assert image.render_notes == ("RGB rendered to gray",)


def test_a_palette_is_converted_to_luma(tmp_path: Path) -> None:
    ramp = (np.arange(256, dtype="<u2") * 257).tobytes()
    colors = ("Red", "Green", "Blue")
    palette = {f"{color}PaletteColorLookupTableDescriptor": [256, 0, 16] for color in colors}
    palette |= {f"{color}PaletteColorLookupTableData": ramp for color in colors}
    values = reference.gradient("u1", 8)
    image = rendered(reference.build(values, photometric="PALETTE COLOR", **palette), tmp_path)
    assert np.abs(image.pixels - values.astype(int) * 257).max() <= 1
    assert image.render_notes == ("PALETTE COLOR rendered to gray",)


@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence"])
def test_a_lookup_table_with_too_few_entries_is_refused(tmp_path: Path, sequence: str) -> None:
    item = reference.lut_item(0, 12, list(range(4096)))
    item.LUTData = list(range(3000))
    with pytest.raises(
        FileRejectedError, match="a lookup table of 3000 entries; expected 4096, as its descriptor says"
    ):
        rendered(reference.build(reference.gradient("u2", 12), 12, **{sequence: Sequence([item])}), tmp_path)


REFUSED = {
    "unknown photometric": ({"PhotometricInterpretation": "JANE DOE"}, "an unknown photometric interpretation"),
    "gray with three samples": ({"SamplesPerPixel": 3}, "MONOCHROME2 with 3 sample"),
    "color with one sample": ({"PhotometricInterpretation": "RGB"}, "RGB with 1 sample"),
}


@pytest.mark.parametrize(("elements", "found"), REFUSED.values(), ids=REFUSED)
def test_unsupported_color_is_refused(tmp_path: Path, elements: dict[str, Any], found: str) -> None:
    with pytest.raises(FileRejectedError, match=found) as caught:
        rendered(reference.build(reference.gradient("u1", 8), **elements), tmp_path)
    assert caught.value.reason == Reason.UNSUPPORTED
    assert "JANE" not in str(caught.value)
