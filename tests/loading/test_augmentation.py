"""Augmentation parameters: purity, ranges, and the geometry that they and the letterbox make."""

import dataclasses

import cv2
import numpy as np
import pytest

from pneumo.loading.augmentation import Augmentation, AugmentationParameters, draw, identity
from pneumo.loading.geometry import downsample_factor, downsampled_shape, letterbox, scale_matrix, to_corner_coordinates
from pneumo.runtime.errors import UserError

NOTHING = Augmentation(hflip=0, affine=0, intensity=0)


def parameters(config: Augmentation, position: int = 0, **changes) -> AugmentationParameters:
    where = {"seed": 7, "epoch": 3, "position": position, "rows": 1024, "columns": 1024, "size": 256}
    return draw(config, **(where | changes))


def apply(matrix: np.ndarray, x: float, y: float) -> tuple[float, float]:
    return tuple((matrix @ (x, y, 1)).tolist())


def spans(values: np.ndarray, low: float, high: float) -> bool:
    """Tell whether values stay within the limits and come near both."""
    slack = 0.05 * (high - low)
    return low - 1e-9 <= values.min() < low + slack and high - slack < values.max() <= high + 1e-9


def same(a: AugmentationParameters, b: AugmentationParameters) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))


def test_parameters_are_a_pure_function_of_seed_epoch_and_position():
    config = Augmentation(affine=1, intensity=1, distortion=1)
    assert same(parameters(config, 5), parameters(config, 5))
    for change in ({"seed": 8}, {"epoch": 4}, {"position": 6}):
        assert not np.array_equal(parameters(config, **change).matrix, parameters(config).matrix)


def test_one_probability_does_not_change_the_other_draws():
    all_on = parameters(Augmentation(affine=1, intensity=1, hflip=0, distortion=1))
    no_tone = parameters(Augmentation(affine=1, intensity=0, hflip=0, distortion=0))
    assert np.array_equal(all_on.matrix, no_tone.matrix)
    assert no_tone.distortion is None
    assert (no_tone.contrast, no_tone.gamma, no_tone.brightness) == (1, 1, 0)


def test_probabilities_are_kept_and_kinds_are_even():
    config = Augmentation(hflip=0.25, affine=0, intensity=0.6, distortion=0.3)
    drawn = [parameters(config, position) for position in range(3000)]
    assert np.mean([p.matrix[0, 0] < 0 for p in drawn]) == pytest.approx(0.25, abs=0.03)
    tones = [(p.contrast != 1, p.gamma != 1, p.brightness != 0) for p in drawn]
    assert np.mean(tones, axis=0) == pytest.approx([0.2] * 3, abs=0.03)
    assert max(map(sum, tones)) == 1
    kinds = [p.distortion for p in drawn]
    for kind in ("elastic", "grid", "optical"):
        assert kinds.count(kind) / 3000 == pytest.approx(0.1, abs=0.025)


def test_ranges_are_kept():
    config = Augmentation(hflip=0, affine=1, intensity=1, translate=0.1, scale=0.2, rotate_deg=10, contrast=0.3)
    drawn = [parameters(config, position, rows=256, columns=256) for position in range(2000)]
    linear = np.array([p.matrix[:, :2] for p in drawn])
    factors = 1 / np.sqrt(np.linalg.det(linear))
    angles = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert spans(factors, 0.8, 1.2)
    assert spans(angles, -10, 10)
    # The source's centre lands at most the shift away from the network's.
    landed = np.array([apply(cv2.invertAffineTransform(p.matrix), 127.5, 127.5) for p in drawn]) - 127.5
    assert spans(landed, -25.6, 25.6)
    assert spans(np.array([p.contrast for p in drawn]), 0.7, 1.3)


def test_nothing_asked_for_is_exactly_the_letterbox():
    drawn = parameters(NOTHING, rows=500, columns=333)
    assert same(dataclasses.replace(drawn, distortion_seed=0), identity(500, 333, 256))


def test_identity_at_the_source_size_is_the_exact_unit_matrix():
    assert np.array_equal(identity(256, 256, 256).matrix, [[1, 0, 0], [0, 1, 0]])


def test_flip_mirrors_whole_pixels():
    flipped = parameters(dataclasses.replace(NOTHING, hflip=1), rows=256, columns=256)
    assert np.array_equal(flipped.matrix, [[-1, 0, 255], [0, 1, 0]])


@pytest.mark.parametrize(
    ("rows", "columns", "size", "box"),
    [
        pytest.param(1024, 1024, 512, (0, 0, 512, 512), id="square"),
        pytest.param(1000, 500, 100, (0, 25, 100, 50), id="upright"),
        pytest.param(100, 99, 100, (0, 0, 100, 99), id="odd margin goes to the far side"),
        pytest.param(300, 1000, 100, (35, 0, 30, 100), id="lying"),
        pytest.param(64, 64, 256, (0, 0, 256, 256), id="enlarged"),
    ],
)
def test_letterbox_centres_the_whole_image(rows, columns, size, box):
    fitted = letterbox(rows, columns, size)
    assert (fitted.top, fitted.left, fitted.height, fitted.width) == box
    # The image's corners (half a pixel outside the outer centres) are the content's corners.
    x, y = apply(fitted.matrix, fitted.left - 0.5, fitted.top - 0.5)
    assert (x, y) == pytest.approx((-0.5, -0.5))
    x, y = apply(fitted.matrix, fitted.left + columns * fitted.scale - 0.5, fitted.top + rows * fitted.scale - 0.5)
    assert (x, y) == pytest.approx((columns - 0.5, rows - 0.5))


@pytest.mark.parametrize(
    ("rows", "columns", "size", "factor"),
    [(1024, 1024, 512, 2), (1024, 1024, 513, 1), (1024, 700, 256, 4), (4096, 4096, 256, 8), (200, 200, 512, 1)],
)
def test_reduction_never_goes_below_the_network_size(rows, columns, size, factor):
    assert downsample_factor(rows, columns, size) == factor


def test_reduced_pixel_is_the_centre_of_the_pixels_it_stands_for():
    unit = np.array([[1.0, 0, 0], [0, 1, 0]])
    # Source pixels 0..3 average to reduced pixel 0: their centre 1.5 is its centre 0.
    assert apply(scale_matrix(unit, 4), 1.5, 5.5) == (0.0, 1.0)
    assert downsampled_shape(1023, 1024, 4) == (256, 256)


def test_corner_based_matrix_moves_the_origin_by_half_a_pixel():
    matrix = parameters(Augmentation(affine=1)).matrix
    x, y = apply(matrix, 10, 20)
    assert apply(to_corner_coordinates(matrix), 10.5, 20.5) == pytest.approx((x + 0.5, y + 0.5))


@pytest.mark.parametrize(
    ("field", "value"),
    [("hflip", 1.5), ("distortion", -0.1), ("scale", 1.0), ("gamma", -0.2), ("rotate_deg", 200)],
)
def test_value_out_of_range_names_the_field(field, value):
    with pytest.raises(UserError, match=f"--augmentation.{field.replace('_', '-')} {value}; expected"):
        Augmentation(**{field: value})
