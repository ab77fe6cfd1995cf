"""The shear's range, its center, and that it changes no other augmentation."""

import numpy as np
import pytest
from augmentation_draws import only, parameters, spans
from loading_data import map_point

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.shear import Shear


def test_rows_are_moved_within_the_range_and_the_center_is_not() -> None:
    augmentation = only(shear=Shear(probability=1, slope=0.2))
    matrices = [parameters(augmentation, position, rows=256, columns=256).matrix for position in range(500)]
    assert spans(np.array([matrix[0, 1] for matrix in matrices]), -0.2, 0.2)
    for matrix in matrices:
        assert map_point(matrix, 127.5, 127.5) == pytest.approx((127.5, 127.5))
        assert map_point(matrix, 10, 30)[1] == pytest.approx(30)


def test_the_others_draw_what_they_drew_without_it() -> None:
    others = {"affine": Affine(probability=1), "intensity": Intensity(probability=1)}
    without = parameters(only(**others))
    both = parameters(only(**others, shear=Shear(probability=1, slope=0.2)))
    assert both.pixel_transforms == without.pixel_transforms
    sheared = np.linalg.inv(np.vstack([without.matrix, [0, 0, 1]])) @ np.vstack([both.matrix, [0, 0, 1]])
    assert sheared[1:] == pytest.approx(np.eye(3)[1:])
    assert 0 < abs(sheared[0, 1]) <= 0.2
