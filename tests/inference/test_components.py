import numpy as np
import pytest
from scipy import ndimage

from pneumo.inference import components
from pneumo.inference.components import open_by_area, remove_small_components


def plain_components(mask: np.ndarray, min_pixels: float) -> np.ndarray:
    """Flood each 8-connected component, pixel by pixel."""
    kept, seen = np.zeros_like(mask), np.zeros(mask.shape, bool)
    for start in np.argwhere(mask).tolist():
        stack, component = [tuple(start)], []
        while stack:
            y, x = stack.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not seen[y, x]:
                seen[y, x] = True
                component.append((y, x))
                stack += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        if len(component) >= min_pixels:
            for y, x in component:
                kept[y, x] = 1
    return kept


@pytest.mark.parametrize("min_pixels", [1, 2, 4, 9, 30])
def test_it_agrees_with_a_flood_fill(min_pixels: int) -> None:
    mask = (np.random.default_rng(min_pixels).random((40, 64)) < 0.3).astype(np.uint8)
    min_area = min_pixels * 2**20 / mask.size
    kept = remove_small_components(mask, min_area)
    assert kept.dtype == np.uint8
    assert np.array_equal(kept, plain_components(mask, min_pixels))


def test_a_component_of_exactly_the_minimum_stays_and_areas_scale_with_the_image() -> None:
    for rows, columns in ((8, 16), (32, 32), (1024, 1024), (2048, 1024)):
        mask = np.zeros((rows, columns), np.uint8)
        mask[2, 1:4] = 1  # 3 px
        area = 3 * (1024 * 1024) / (rows * columns)
        assert np.array_equal(remove_small_components(mask, area), mask)
        assert not remove_small_components(mask, area * 1.001).any()
        assert np.array_equal(remove_small_components(mask, 0), mask)


def test_components_are_removed_by_their_area_in_reference_pixels() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[10:20, 10:20] = 1  # 100 px here, 400 of a 1024x1024 image
    mask[100:130, 100:130] = 1
    mask[130, 130] = 1  # touches the larger one at a corner
    assert remove_small_components(mask, 401).sum() == 901
    assert remove_small_components(mask, 400).sum() == 1001
    assert remove_small_components(np.zeros((4, 4), np.uint8), 1).sum() == 0
    assert remove_small_components(np.ones((4, 4), np.uint8), 1).sum() == 16


def draw_bins(shape: tuple[int, int], kind: str) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    values = rng.random(shape)
    if kind == "smooth":
        values = ndimage.gaussian_filter(values, 2.0)
        values = (values - values.min()) / np.ptp(values)
    return (values * {"noise": 256, "smooth": 256, "few values": 4}[kind]).astype(np.uint8)


@pytest.mark.parametrize("shape", [(18, 24), (9, 41), (1, 40)])
@pytest.mark.parametrize("kind", ["noise", "smooth", "few values"])
@pytest.mark.parametrize("min_pixels", [1, 2, 7, 10_000])
@pytest.mark.parametrize("most_labeled", [0, 1_000_000])
def test_the_opened_map_has_the_masks_of_every_threshold(
    shape: tuple[int, int], kind: str, min_pixels: int, most_labeled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the map is labeled component by component or, since it would take too long, value by value."""
    monkeypatch.setattr(components, "MOST_LABELED", most_labeled)
    bins = draw_bins(shape, kind)
    before = bins.copy()
    opened = open_by_area(bins, min_pixels * 2**20 / bins.size)
    assert np.array_equal(bins, before)
    assert opened.dtype == np.uint8
    occurring = np.unique(bins[bins > 0]).tolist()
    for b in {1, *occurring[:: max(len(occurring) // 8, 1)], occurring[-1]}:
        assert np.array_equal(opened >= b, plain_components((bins >= b).astype(np.uint8), min_pixels)), b


def test_a_part_of_a_component_may_be_too_small_above_it_and_another_one_not() -> None:
    """Two peaks on a plateau, of which one is removed, and comes back where it is joined to the other."""
    bins = np.zeros((8, 16), np.uint8)
    bins[1:7, 1:15] = 10
    bins[2:6, 2:6] = 200  # 16 px
    bins[3, 10:12] = 200  # 2 px
    bins[3, 6:10] = 90  # the bridge
    opened = open_by_area(bins, 10 * 2**20 / bins.size)
    expected = bins.copy()
    expected[3, 10:12] = 90
    assert np.array_equal(opened, expected)
    assert np.array_equal(open_by_area(bins, 17 * 2**20 / bins.size), np.minimum(bins, 90))
    assert open_by_area(bins, 90 * 2**20 / bins.size).max() == 0


def test_a_map_of_components_around_each_other_is_labeled_no_more_often_than_it_has_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, columns = np.mgrid[:256, :256]
    bins = ((rows + columns) % 256).astype(np.uint8)
    labeled, label = [0], components._components

    def counting(mask: np.ndarray, min_area: float, pixels: int) -> object:
        labeled[0] += mask.size
        return label(mask, min_area, pixels)

    monkeypatch.setattr(components, "_components", counting)
    opened = open_by_area(bins, 16.0)
    assert np.array_equal(opened, bins)
    assert labeled[0] <= 2 * 256 * bins.size
