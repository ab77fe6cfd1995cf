"""Ranges of the shift, scaling and rotation, and their center."""

import cv2
import numpy as np
import pytest
from augmentation_draws import only, parameters, spans
from loading_data import map_point

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.flip import Flip
from pneumo.runtime.errors import UserError


def matrices(affine: Affine, **others) -> np.ndarray:
    """Draw the matrices of 2000 positions."""
    augmentation = only(affine=affine, **others)
    return np.array([parameters(augmentation, p, rows=256, columns=256).matrix for p in range(2000)])


@pytest.mark.parametrize("flip", [0, 1])
def test_ranges_are_kept(flip):
    drawn = matrices(Affine(probability=1, translate=0.1, scale=0.2, rotate_deg=10), flip=Flip(probability=flip))
    linear = drawn[:, :, :2] * np.where(flip, [-1, 1], 1)
    factors = 1 / np.sqrt(np.linalg.det(linear))
    angles = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert spans(factors, 0.8, 1.2)
    assert spans(angles * np.where(flip, -1, 1), -10, 10)
    # The source's center is moved at most by the shift from the network's.
    moved = np.array([map_point(cv2.invertAffineTransform(matrix), 127.5, 127.5) for matrix in drawn]) - 127.5
    assert spans(moved[:, 0], -25.6, 25.6)
    assert spans(moved[:, 1], -25.6, 25.6)


def test_half_a_turn_in_either_direction_gives_every_rotation():
    drawn = matrices(Affine(probability=1, rotate_deg=180))
    assert spans(np.rad2deg(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0])), -180, 180)


def test_rotation_and_scaling_leave_the_center_in_place():
    for matrix in matrices(Affine(probability=1, translate=0)):
        assert map_point(matrix, 127.5, 127.5) == pytest.approx((127.5, 127.5))


def test_ranges_of_zero_are_the_exact_identity():
    for matrix in matrices(Affine(probability=1, translate=0, scale=0, rotate_deg=0)):
        assert np.array_equal(matrix, [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(("field", "value"), [("translate", -0.1), ("scale", 1.0), ("rotate_deg", 200)])
def test_value_out_of_range_names_its_flag(field, value):
    with pytest.raises(UserError, match=f"--augmentation.affine.{field.replace('_', '-')} {value}; expected"):
        Affine(**{field: value})
