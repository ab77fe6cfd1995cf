"""The flip mirrors whole pixels."""

import numpy as np
import pytest
from augmentation_draws import only, parameters
from loading_data import map_point

from pneumo.loading.augmentation.flip import Flip


@pytest.mark.parametrize("size", [255, 256])
def test_flip_mirrors_whole_pixels(size):
    flipped = parameters(only(flip=Flip(probability=1)), rows=size, columns=size, size=size)
    assert np.array_equal(flipped.matrix, [[-1, 0, size - 1], [0, 1, 0]])


def test_flip_mirrors_what_the_letterbox_has_centered():
    sample = {"rows": 300, "columns": 200}
    plain = parameters(only(), **sample).matrix
    flipped = parameters(only(flip=Flip(probability=1)), **sample).matrix
    for x, y in [(0, 0), (40, 7), (255, 255)]:
        assert map_point(flipped, x, y) == pytest.approx(map_point(plain, 255 - x, y))


def test_flip_changes_no_pixel_values():
    assert parameters(only(flip=Flip(probability=1))).pixel_transforms == ()


def test_as_often_as_its_probability():
    drawn = [parameters(only(flip=Flip(probability=0.25)), position) for position in range(3000)]
    assert np.mean([p.matrix[0, 0] < 0 for p in drawn]) == pytest.approx(0.25, abs=0.03)
