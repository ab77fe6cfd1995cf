"""How times grow with sizes."""

import pytest

from pneumo.bench.scaling import growth, slope


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_slope_is_the_power_of_the_size(power):
    sizes = [12, 120, 1200]
    assert slope(sizes, [3.0 * size**power for size in sizes]) == pytest.approx(power)


def test_growth_compares_the_time_per_item():
    found = growth("part", "work", "image", [100, 1000], [[1.0, 1.0, 1.0], [20.0, 40.0, 20.0]])
    assert (found.ours, found.theirs) == (20_000, 10_000)
    assert (found.lowest, found.ratio, found.highest) == (0.25, 0.5, 0.5)
    assert found.what == "work, 1,000 images: time grows as size^1.30"
    assert found.baseline == "the same, 100 images"
