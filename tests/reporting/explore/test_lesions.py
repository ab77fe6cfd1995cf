"""Lesions of masks whose number, size and place are known."""

import math

import numpy as np
import pytest
from explore_data import make_table, square

from pneumo.reporting.explore import lesions
from pneumo.reporting.explore.lesions import CELLS, area_cm2, measure, place_map, unusual_shares


def test_each_connected_region_is_a_lesion_with_its_area_and_center() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[10:20, 20:40] = 1
    mask[50:52, 150:160] = 1
    mask[52, 160] = 1  # touches a corner: the same lesion
    found = measure(mask)
    assert found.areas == pytest.approx([200 / 20000, 21 / 20000])
    assert found.area == pytest.approx(221 / 20000)
    assert found.centers[0] == pytest.approx((30 / 200, 15 / 100))
    assert found.side == "both"
    assert not found.at_edge


@pytest.mark.parametrize(("x", "side"), [(0.2, "left"), (0.8, "right")])
def test_the_side_is_that_of_the_picture(x: float, side: str) -> None:
    assert square(x=x).side == side


def test_a_mask_at_the_edge_is_known() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[4, 9] = 1
    assert measure(mask).at_edge


@pytest.mark.parametrize("shape", [(64, 96), (8, 16), (33, 100)])
def test_the_cover_is_the_share_of_each_cell(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2, : shape[1] // 2] = 1
    cover = measure(mask).cover
    assert cover.shape == (CELLS, CELLS)
    assert cover.mean() == pytest.approx(mask.mean(), abs=0.01)
    assert cover[: CELLS // 2 - 1, : CELLS // 2 - 1].min() == pytest.approx(1)
    assert cover[CELLS // 2 + 1 :].max() == 0


def test_the_map_of_places_is_the_mean_over_images() -> None:
    full = measure(np.ones((64, 64), np.uint8))
    half = np.zeros((64, 64), np.uint8)
    half[:32] = 1
    places = place_map([full, measure(half)])
    assert places[:16].tolist() == np.ones((16, 32)).tolist()
    assert places[16:].tolist() == np.full((16, 32), 0.5).tolist()
    assert place_map([]).sum() == 0


def test_a_mask_where_no_other_is_has_an_unusual_place() -> None:
    usual = [square(x=0.3, y=0.3) for _ in range(lesions.MIN_MASKS)]
    shares = unusual_shares([*usual, square(x=0.8, y=0.9)])
    assert shares[-1] == pytest.approx(1)
    assert shares[:-1].max() == 0
    # Two of hundreds are few, too.
    many = [*usual * 8, *[square(x=0.8, y=0.9)] * 2]
    assert unusual_shares(many)[-2:].tolist() == pytest.approx([1, 1])
    assert unusual_shares([*many, square(x=0.8, y=0.9)])[-1] == 0
    assert unusual_shares([*usual[:10], square(x=0.8, y=0.9)]).max() == 0, "too few masks to know what is usual"


def test_areas_are_in_square_centimeters() -> None:
    table = make_table(
        4, rows=2000, columns=2000, mask_area=[100, 250, 5, 5],
        row_spacing_mm=[1.0, 0.2, math.nan, 0.1], column_spacing_mm=[1.0, 0.4, 0.2, 0.1],
    )  # fmt: skip
    assert area_cm2(table, np.array([0, 1])) == pytest.approx([1, 0.2])
    # Unknown, and an adult of 20 cm.
    assert np.isnan(area_cm2(table, np.array([2, 3]))).all()
