"""The letterbox and downsampling."""

import numpy as np
import pytest
from loading_data import map_point

from pneumo.loading.geometry import (
    downsample_factor,
    downsampled_shape,
    homogeneous,
    letterbox,
    scale_matrix,
)


@pytest.mark.parametrize(
    ("rows", "columns", "size", "box"),
    [
        pytest.param(1024, 1024, 512, (0, 0, 512, 512), id="square"),
        pytest.param(1000, 500, 100, (0, 25, 100, 50), id="upright"),
        pytest.param(100, 99, 100, (0, 0, 100, 99), id="odd margin is at the far side"),
        pytest.param(300, 1000, 100, (35, 0, 30, 100), id="wide"),
        pytest.param(64, 64, 256, (0, 0, 256, 256), id="enlarged"),
    ],
)
def test_letterbox_centers_the_whole_image(rows, columns, size, box):
    fitted = letterbox(rows, columns, size)
    assert (fitted.top, fitted.left, fitted.height, fitted.width) == box
    # The image's corners (half a pixel outside the outer centers) are the content's corners.
    x, y = map_point(fitted.matrix, fitted.left - 0.5, fitted.top - 0.5)
    assert (x, y) == pytest.approx((-0.5, -0.5))
    x, y = map_point(fitted.matrix, fitted.left + columns * fitted.scale - 0.5, fitted.top + rows * fitted.scale - 0.5)
    assert (x, y) == pytest.approx((columns - 0.5, rows - 0.5))


@pytest.mark.parametrize(
    ("rows", "columns", "size", "factor"),
    [(1024, 1024, 512, 2), (1024, 1024, 513, 1), (1024, 700, 256, 4), (4096, 4096, 256, 8), (200, 200, 512, 1)],
)
def test_image_is_never_downsampled_below_the_network_size(rows, columns, size, factor):
    assert downsample_factor(rows, columns, size) == factor


def test_pixel_of_a_downsampled_image_is_the_center_of_its_block():
    unit = np.array([[1.0, 0, 0], [0, 1, 0]])
    # Source pixels 0..3 average to pixel 0 of the downsampled image: their center 1.5 is its center 0.
    assert map_point(scale_matrix(unit, 4), 1.5, 5.5) == (0.0, 1.0)
    assert downsampled_shape(1023, 1024, 4) == (256, 256)


def test_product_of_homogeneous_matrices_maps_by_one_after_the_other():
    first, second = np.array([[3.7, -1.1, 40.0], [0.9, 3.9, -12.5]]), np.array([[0.8, 0.3, 5.0], [-0.2, 1.1, 7.0]])
    product = homogeneous(first) @ homogeneous(second)
    assert product[2].tolist() == [0, 0, 1]
    assert map_point(product[:2], 10, 20) == pytest.approx(map_point(first, *map_point(second, 10, 20)))
