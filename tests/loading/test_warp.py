"""The image of one sample: its own pixels where they stay whole, and interpolated ones to a part of a gray level."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from pneumo.dicom.image_codec import to_float
from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.flip import Flip
from pneumo.loading.augmentation.intensity import IntensityTransform
from pneumo.loading.augmentation.transforms import PixelTransform
from pneumo.loading.geometry import letterbox, scale_matrix
from pneumo.loading.warp import make_image, warp

SIZE = 64
UNIT = np.eye(2, 3)
FLIP = np.array([[-1.0, 0, SIZE - 1], [0, 1, 0]])
LARGEST_ERROR = 2e-4 if int(cv2.__version__.partition(".")[0]) >= 5 else 0.05
"""On noise of black and white, of 1: OpenCV 4 rounds coordinates to 1/32 of a pixel, OpenCV 5 to those of float32."""


@dataclass(frozen=True)
class Shifted(PixelTransform):
    """Moves the image and its mask down by a pixel."""

    def apply_to_arrays(self, image, mask):
        image[1:], mask[1:] = image[:-1].copy(), mask[:-1].copy()


def noise(dtype, shape=(SIZE, SIZE)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def made(pixels, matrix, *transforms, size=SIZE) -> tuple[np.ndarray, np.ndarray]:
    image, mask = np.full((size, size), 9, np.float32), np.eye(size, dtype=np.uint8)
    make_image(pixels, matrix, transforms, image, mask)
    return image, mask


def moved(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    return np.column_stack([matrix[:, :2], matrix[:, 2] + (x, y)])


def interpolated(source: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Interpolate in double precision; the source, (rows, columns) in [0, 1], is surrounded by black."""
    rows, columns = source.shape
    framed = np.pad(source, 1)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    column = np.clip(matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2], -1, columns)
    row = np.clip(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2], -1, rows)
    left, top = np.minimum(np.floor(column), columns - 1), np.minimum(np.floor(row), rows - 1)
    right, down = column - left, row - top
    i, j = top.astype(int) + 1, left.astype(int) + 1
    upper = (1 - right) * framed[i, j] + right * framed[i, j + 1]
    lower = (1 - right) * framed[i + 1, j] + right * framed[i + 1, j + 1]
    return (1 - down) * upper + down * lower


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_interpolation_is_that_of_double_precision(dtype):
    rng, black_and_white = np.random.default_rng(1), noise(dtype, (512, 512)) % 2 * np.iinfo(dtype).max
    for _ in range(4):
        matrix = scale_matrix(letterbox(1024, 1024, 512).matrix @ Affine().draw(rng, 512), 2)
        image, _ = made(black_and_white, matrix, size=512)
        errors = np.abs(image - interpolated(black_and_white / np.iinfo(dtype).max, matrix, 512))
        assert errors.max() < LARGEST_ERROR
        assert errors.mean() < LARGEST_ERROR / 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("matrix", "turn"), [(UNIT, 1), (FLIP, -1)], ids=["unit", "flip"])
def test_pixels_that_stay_whole_keep_their_values_to_the_bit(monkeypatch, dtype, matrix, turn):
    pixels = noise(dtype)
    warped = np.empty((SIZE, SIZE), np.float32)
    warp(to_float(pixels), matrix, warped, cv2.INTER_LINEAR)
    monkeypatch.setattr("pneumo.loading.warp.warp", lambda *_: pytest.fail("the pixels were interpolated"))
    image, _ = made(pixels, matrix)
    assert np.array_equal(image, (pixels / np.iinfo(dtype).max).astype(np.float32)[:, ::turn])
    assert np.array_equal(image, warped)


def test_the_default_flip_and_letterbox_are_found_to_keep_pixels_whole(monkeypatch):
    monkeypatch.setattr("pneumo.loading.warp.warp", lambda *_: pytest.fail("the pixels were interpolated"))
    flip = Flip().draw(np.random.default_rng(0), 512)
    for factor, size in ((1, 512), (2, 1024), (4, 2048), (8, 4096)):
        pixels = noise(np.uint8, (512, 512))
        for matrix, turn in ((letterbox(size, size, 512).matrix, 1), (letterbox(size, size, 512).matrix @ flip, -1)):
            image, _ = made(pixels, scale_matrix(matrix, factor), size=512)
            assert np.array_equal(image, to_float(pixels)[:, ::turn])


@pytest.mark.parametrize(
    ("shape", "matrix"),
    [
        ((SIZE, SIZE), moved(UNIT, 1, 0)),
        ((SIZE, SIZE), moved(UNIT, 0, 0.25)),
        ((SIZE, SIZE), moved(FLIP, 1, 0)),
        ((SIZE, SIZE), UNIT * 1.001),
        ((SIZE, SIZE // 2), UNIT),
        ((SIZE // 2, SIZE), UNIT),
        ((SIZE // 2, SIZE // 2), FLIP),
    ],
)
def test_what_is_moved_or_of_another_shape_is_interpolated(shape, matrix):
    pixels = noise(np.uint8, shape)
    image, _ = made(pixels, matrix)
    assert np.abs(image - interpolated(pixels / 255, matrix, SIZE)).max() < LARGEST_ERROR


@pytest.mark.parametrize("matrix", [UNIT, FLIP, UNIT * 0.9], ids=["unit", "flip", "scaled"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_changes_are_those_of_every_pixel_in_their_order(dtype, matrix):
    """Also of those before and behind one that moves pixels; each is applied once, to the mask as well."""
    pixels = noise(dtype)
    plain, _ = made(pixels, matrix)
    before = IntensityTransform(gamma=0.8, contrast=1.1, brightness=-0.05)
    behind = IntensityTransform(contrast=0.9, brightness=0.2)
    for transforms in ([before], [before, behind], [Shifted()], [before, Shifted(), behind], [Shifted(), before]):
        expected, expected_mask = plain.copy(), np.eye(SIZE, dtype=np.uint8)
        for transform in transforms:
            transform.apply_to_arrays(expected, expected_mask)
        image, mask = made(pixels, matrix, *transforms)
        assert np.array_equal(image, expected)
        assert np.array_equal(mask, expected_mask)


def test_an_image_is_the_same_without_its_mask():
    class Strict(Shifted):
        def apply_to_arrays(self, image, mask):
            assert not mask.any()
            super().apply_to_arrays(image, mask)

    pixels, transforms = noise(np.uint8), [IntensityTransform(gamma=0.8), Strict(), IntensityTransform(contrast=0.9)]
    image = np.empty((SIZE, SIZE), np.float32)
    make_image(pixels, UNIT, transforms, image, None)
    assert np.array_equal(image, made(pixels, UNIT, transforms[0], Shifted(), transforms[2])[0])


def test_the_values_of_levels_are_the_same_for_the_next_image():
    pixels = noise(np.uint8)
    made(pixels, UNIT, IntensityTransform(contrast=0.5))
    assert np.array_equal(made(pixels, UNIT)[0], to_float(pixels))


def test_warp_interpolates_and_is_black_outside_of_the_source():
    source = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    out = np.full((2, 4), 9, np.float32)
    warp(source, np.array([[0.5, 0, 0], [0, 1, 0]]), out, cv2.INTER_LINEAR)
    assert out.tolist() == [[0, 0.5, 1, 0.5], [0, 0.5, 1, 0.5]]


def test_warp_keeps_the_type():
    with pytest.raises(AssertionError):
        warp(np.zeros((2, 2), np.uint8), np.eye(2, 3), np.zeros((2, 2), np.float32), cv2.INTER_NEAREST)
