import itertools
import tracemalloc
from dataclasses import fields, replace

import numpy as np
import pytest
from plain_rules import EDGE_RULES, ON_THE_EDGES, PIXEL, example, plain_dice, plain_mask, to_histograms
from random_maps import draw_maps

from pneumo.inference import threshold_search
from pneumo.inference.decision_rule import NEVER, DecisionRule, score_images
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.threshold_search import SearchGrid, search

SMALL = SearchGrid(
    top_bins=(40, 120, 200),
    min_areas=(0.0, 5000.0, 30000.0, NEVER),
    bottom_bins=(30, 60, 150),
    presence_thresholds=(0.0, 0.4, 0.6),
)


def test_search_finds_what_trying_every_rule_finds(maps, maps_without_presence):
    for sample in (maps, maps_without_presence):
        every = [
            DecisionRule(top, area, bottom, presence)
            for top, area, presence, bottom in itertools.product(
                SMALL.top_bins, SMALL.min_areas, SMALL.presence_thresholds, SMALL.bottom_bins
            )
            if bottom <= top
        ]
        best = max(score_images(sample.histograms, rule).mean() for rule in every)
        found = search(sample.histograms, SMALL)
        assert score_images(sample.histograms, found).mean() == pytest.approx(best, abs=1e-12)
        assert best > (~sample.histograms.positive).mean()
        assert found == search(sample.histograms, SMALL)


@pytest.mark.parametrize("min_component", [0.0, 8_000.0])
def test_every_entry_of_the_search_is_its_rules_dice_over_empty(min_component):
    maps = draw_maps(min_component=min_component)
    histograms = maps.histograms
    subset = np.arange(len(histograms)) % 2
    sums = threshold_search.sum_dice_over_empty(histograms, SMALL, subset)
    for (t, top), (a, area), (p, presence), (b, bottom) in itertools.product(
        *map(enumerate, (SMALL.top_bins, SMALL.min_areas, SMALL.presence_thresholds, SMALL.bottom_bins))
    ):
        if bottom > top:
            assert np.isneginf(sums[:, t, a, p, b]).all()
            continue
        each = score_images(histograms, DecisionRule(top, area, bottom, presence)) - ~histograms.positive
        np.testing.assert_allclose(sums[:, t, a, p, b], [each[subset == 0].sum(), each[subset == 1].sum()], atol=1e-12)


def test_every_entry_of_the_search_is_what_the_rule_makes_of_the_pixels():
    """Areas, presences and thresholds equal to the grid's, one pixel, and equal top and bottom thresholds."""
    grid = SearchGrid(
        top_bins=(1, 64, 128, 192),
        min_areas=(0.0, PIXEL, 2 * PIXEL, 3 * PIXEL, 64 * PIXEL),
        bottom_bins=(1, 64, 128, 192),
        presence_thresholds=(0.0, 0.5, 0.75),
    )
    sums = threshold_search.sum_dice_over_empty(to_histograms(ON_THE_EDGES), grid, np.arange(len(ON_THE_EDGES)))
    assert np.isfinite(sums[0]).sum() == len(EDGE_RULES)
    for rule in EDGE_RULES:
        t, a = grid.top_bins.index(rule.top_bin), grid.min_areas.index(rule.min_area)
        p, b = grid.presence_thresholds.index(rule.presence_threshold), grid.bottom_bins.index(rule.bottom_bin)
        expected = [plain_dice(plain_mask(each, rule), each.truth) - (not each.truth.any()) for each in ON_THE_EDGES]
        assert sums[:, t, a, p, b].tolist() == pytest.approx(expected, abs=1e-12), rule


def test_the_search_takes_a_number_for_each_image_and_bottom_threshold(maps):
    """And not one for each image, area and presence threshold: 100,000 images with 340 of those would take 270 MB."""
    many, grid = repeat_images(maps.histograms, 6000), SearchGrid()
    assert many.predicted.shape == many.overlap.shape, "counted before, and kept"
    tracemalloc.start()
    sums = threshold_search.sum_dice_over_empty(many, grid, np.zeros(len(many), np.int64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    numbers = len(many) * len(grid.bottom_bins)
    assert peak - sums.nbytes < 3 * 8 * numbers < 8 * len(many) * 340


def repeat_images(histograms: PredictionHistograms, count: int) -> PredictionHistograms:
    """Return so many images: the same ones again and again under other ids."""
    many = {
        field.name: np.resize(getattr(histograms, field.name), (count, *getattr(histograms, field.name).shape[1:]))
        for field in fields(PredictionHistograms)
        if isinstance(getattr(histograms, field.name), np.ndarray)
    }
    return PredictionHistograms(**{**many, "image_id": np.arange(count).astype(str)})


def test_without_a_positive_image_the_rule_leaves_every_image_empty(maps):
    shuffled = maps.histograms.select(np.argsort(maps.histograms.positive))
    n = len(shuffled)
    negatives = PredictionHistograms(
        image_id=shuffled.image_id,
        fold=shuffled.fold,
        patient=shuffled.patient,
        positive=np.zeros(n, np.bool_),
        pixels=shuffled.pixels,
        presence_probability=shuffled.presence_probability,
        inside=np.zeros_like(shuffled.inside),
        outside=shuffled.inside + shuffled.outside,
    )
    assert score_images(negatives, search(negatives)).tolist() == [1.0] * n


def test_rules_that_tie_in_one_threshold_give_the_middle_one():
    sums = np.full((1, 5, 1, 1), -1.0)
    sums[0, 1:4] = 2.0
    grid = SearchGrid(
        top_bins=(200,), min_areas=(0.0, 1.0, 2.0, 3.0, 4.0), bottom_bins=(100,), presence_thresholds=(0.0,)
    )
    assert threshold_search.best(sums, 10, grid).min_area == 2.0
    sums[0, 3] += 1e-12  # a rounding error is no better rule
    assert threshold_search.best(sums, 10, grid).min_area == 2.0
    sums[0, 3] += 4e-8  # of 100 images: less than 1e-9 in their mean
    assert threshold_search.best(sums, 100, grid).min_area == 2.0
    assert threshold_search.best(sums, 10, grid).min_area == 3.0


def test_of_a_prediction_that_leaves_no_doubt_the_rule_is_the_middle_of_all_that_are_right():
    """A lesion of 16 of 64 pixels at 0.75 in an image at 0.25, and an image at 0.25; presences 0.625 and 0.3.

    Right is every rule with 0.25 < bottom <= top <= 0.75, an area below that of the lesion, and a presence threshold of
    at most 0.6: a triangle of 32 top by 32 bottom thresholds, in steps of 4/256, with 16 areas and 13 presences. The
    centroid of a triangle of n steps is (2n + 1)/3 = 21.7 steps up for the top and (n + 2)/3 = 11.3 for the bottom.
    """
    lesion = example({0.75: 16, 0.25: 48}, true_pixels=16, presence=0.625)
    nothing = example({0.25: 64}, true_pixels=0, presence=0.3)
    found = search(to_histograms([lesion, nothing]))
    assert found == DecisionRule(64 + 22 * 4, SearchGrid().min_areas[7], 64 + 11 * 4, 6 / 20)


def test_without_a_presence_head_the_rule_has_no_presence_threshold(maps, maps_without_presence):
    """Whatever the grid begins with, and however many areas it has."""
    grid = replace(SMALL, min_areas=(0.0,), presence_thresholds=(0.4, 0.6))
    assert search(maps_without_presence.histograms, grid).presence_threshold == 0.0
    assert search(maps.histograms, grid).presence_threshold in (0.4, 0.6)


def test_a_presence_threshold_without_another_is_that_of_the_rule(maps, maps_without_presence):
    grid = replace(SMALL, presence_thresholds=(0.4,))
    assert search(maps.histograms, grid).presence_threshold == 0.4
    assert search(maps_without_presence.histograms, grid).presence_threshold == 0.0


def test_default_grid_is_ascending_and_valid():
    grid = SearchGrid()
    assert [top / 256 for top in grid.top_bins] == [k / 64 for k in range(1, 64)]
    assert grid.bottom_bins == grid.top_bins
    assert [round(100 * presence) for presence in grid.presence_thresholds] == list(range(0, 100, 5))
    # In pixels of a 1024 x 1024 image.
    assert all(area % 50 == 0 for area in grid.min_areas[:-1])
    assert len(grid.min_areas) == 17
    for values in (grid.top_bins, grid.min_areas, grid.bottom_bins, grid.presence_thresholds):
        assert list(values) == sorted(set(values))
    assert grid.min_areas[-1] == NEVER
    assert grid.bottom_bins[0] <= grid.top_bins[0]
    assert len(grid.top_bins) * len(grid.min_areas) * len(grid.presence_thresholds) * len(grid.bottom_bins) > 1_000_000


PLATEAU = SearchGrid(
    top_bins=tuple(range(100, 200, 10)),
    min_areas=tuple(float(area) for area in range(7)),
    bottom_bins=tuple(range(10, 100, 10)),
    presence_thresholds=tuple(step / 10 for step in range(8)),
)


def indices(rule: DecisionRule) -> tuple[int, int, int, int]:
    """Return the steps of a rule along the axes of ``PLATEAU``."""
    return (
        PLATEAU.top_bins.index(rule.top_bin),
        PLATEAU.min_areas.index(rule.min_area),
        PLATEAU.presence_thresholds.index(rule.presence_threshold),
        PLATEAU.bottom_bins.index(rule.bottom_bin),
    )


def on_plateau(*boxes: tuple[slice, slice, slice, slice]) -> tuple[int, int, int, int]:
    sums = np.full((10, 7, 8, 9), 1.0)
    for box in boxes:
        sums[box] = 2.0
    return indices(threshold_search.best(sums, 10, PLATEAU))


def test_of_a_box_of_ties_the_middle_is_taken_along_every_axis():
    assert on_plateau(np.s_[2:7, 1:4, 3:8, 0:7]) == (4, 2, 5, 3)
    # Of an even number the lower one of the two in the middle, on every axis.
    assert on_plateau(np.s_[2:6, 1:3, 3:7, 0:2]) == (3, 1, 4, 0)
    assert on_plateau(np.s_[9:10, 6:7, 7:8, 8:9]) == (9, 6, 7, 8)
    assert on_plateau(np.s_[:, :, :, :]) == (4, 3, 3, 4)


def test_of_ties_of_any_form_the_one_nearest_to_the_centroid_is_taken():
    # An L in the plane of top threshold and area: its centroid (2.1, 1.1) is in neither arm.
    arms = np.s_[0:8, 0:1, 0:1, 0:1], np.s_[0:1, 0:7, 0:1, 0:1]
    ties = sorted({(t, 0) for t in range(8)} | {(0, a) for a in range(7)})
    center = np.mean(ties, axis=0)
    nearest = min(ties, key=lambda tie: (((np.array(tie) - center) ** 2).sum(), tie))
    assert on_plateau(*arms) == (*nearest, 0, 0) == (2, 0, 0, 0)
    # Two points at equal distances from their centroid: the first in the order of the axes.
    assert on_plateau(np.s_[1:2, 5:6, 2:3, 2:3], np.s_[4:5, 0:1, 0:1, 0:1]) == (1, 5, 2, 2)
    # A larger box beside a single point.
    assert on_plateau(np.s_[0:5, 0:5, 0:5, 0:5], np.s_[9:10, 6:7, 7:8, 8:9]) == (2, 2, 2, 2)


def test_where_nothing_gains_over_calling_none_positive_none_is_called_positive():
    """Rules that tie with it call none of these images positive by chance, and may call others so."""
    grid = replace(PLATEAU, min_areas=(*PLATEAU.min_areas[:-1], NEVER))
    sums = np.full((10, 7, 8, 9), 1.0)
    sums[2:7, 3:7, :, :] = 2.0
    found = threshold_search.best(sums, 10, grid)
    assert found.min_area == NEVER
    assert (grid.top_bins.index(found.top_bin), found.presence_threshold) == (4, 0.3)
    sums[3, 4, 5, 6] = 2.001
    assert threshold_search.best(sums, 10, grid).min_area == grid.min_areas[4]
