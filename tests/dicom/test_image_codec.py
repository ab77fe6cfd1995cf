import numpy as np
import pytest
import reference_files as reference

from pneumo.dicom import image_codec

SHADES = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_a_png_keeps_all_16_bits() -> None:
    pixels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    assert np.array_equal(image_codec.decode(image_codec.encode_png(pixels)), pixels)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("tail", [b"", b"\0", b"\xff"], ids=["even", "zero padding", "fill byte"])
def test_a_jpeg_decodes_to_8_bits(wrap: type, tail: bytes) -> None:
    pixels = image_codec.decode(wrap(reference.encode_jpeg(SHADES) + tail))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - SHADES).max() <= 12


def test_floats_are_the_same_for_a_shade_in_8_and_in_16_bits() -> None:
    narrow, wide = image_codec.to_float(SHADES), image_codec.to_float(SHADES.astype(np.uint16) * 257)
    assert narrow.dtype == wide.dtype == np.float32
    assert np.array_equal(narrow, wide)
    assert (narrow.min(), narrow.max()) == (0, 1)


JPEG, PNG = reference.encode_jpeg(SHADES), image_codec.encode_png(SHADES.astype(np.uint16))
DAMAGED = {
    "empty": b"",
    "text": b'{"error": 429}',
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "half a PNG": PNG[: len(PNG) // 2],
    "a JPEG's ends alone": JPEG[:2] + JPEG[-2:],
    "a PNG's ends alone": PNG[:16] + PNG[-12:],
    "color": reference.encode_jpeg(np.dstack([SHADES] * 3)),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"image|no complete JPEG or PNG"):
        image_codec.decode(data)
