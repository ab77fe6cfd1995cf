"""The exhaustive search for a decision rule, the choice of all rules that a run makes, and a loop over the same rules.

The loop scores one rule after another, each over all images at once. The whole would take too long, so it is timed on
rules spread evenly over the grid, and its time is extrapolated to the grid's size. The search is also timed on ten
times as many images.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.scaling import growth
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns
from pneumo.inference.decision_rule import DecisionRule, score_images
from pneumo.inference.histograms import BINS, PredictionHistograms
from pneumo.inference.rule_choice import choose
from pneumo.inference.threshold_search import SearchGrid, search

FACTOR = 10
"""Times ``--histograms`` that are searched, too."""
PIXELS = 1 << 20
WITH_PRESENCE = "with presence head"


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Search for one rule, and choose those of a run, with and without a presence head."""
    comparisons = []
    for presence in (False, True):
        histograms = draw(settings.histograms, presence=presence)
        comparisons += _measure(histograms, settings, WITH_PRESENCE if presence else "no presence head")
    return comparisons + _measure_growth(settings)


def _measure_growth(settings: Settings) -> list[Comparison]:
    """Search among the histograms of ten times as many images, too."""
    sizes = [settings.histograms, FACTOR * settings.histograms]
    drawn = [draw(size, presence=True) for size in sizes]
    works = [partial(work, histograms) for work in (search, choose) for histograms in drawn]
    seconds = time_in_turns(works, settings.repeat)
    return [
        growth("search", f"{what}, {WITH_PRESENCE}", "image", sizes, seconds[first : first + 2])
        for what, first in (("search", 0), ("choice", 2))
    ]


def _measure(histograms: PredictionHistograms, settings: Settings, variant: str) -> list[Comparison]:
    grid = SearchGrid()
    every = list_rules(grid if variant == WITH_PRESENCE else SearchGrid(presence_thresholds=(0.0,)))
    indices = np.linspace(0, len(every) - 1, min(settings.rules, len(every))).round().astype(int)
    sample = [DecisionRule(*every[index]) for index in indices]
    count = len(every)
    # Hundreds of thousands of objects would slow down the garbage collection.
    del every
    best = score_images(histograms, search(histograms, grid)).mean()
    assert best >= max(loop(histograms, sample)) - 1e-9, "the search missed a better rule"
    works = [
        lambda: search(histograms, grid),
        lambda: choose(histograms, grid),
        lambda: loop(histograms, sample),
    ]
    whole, chosen, sampled = time_in_turns(works, settings.repeat)
    extrapolated = [seconds * count / len(sample) for seconds in sampled]
    images = f"{len(histograms):,} images, {variant}"
    baseline = f"loop, extrapolated from {len(sample):,} of {count:,} rules"
    return [
        per_item("search", f"{what}, {images}", baseline, "s", ours=ours, theirs=extrapolated, scale=1)
        for what, ours in (("search", whole), ("choice", chosen))
    ]


def list_rules(grid: SearchGrid) -> list[tuple[int, float, int, float]]:
    """List the values of every rule of the grid, in the order of four nested loops."""
    return [
        (top, area, bottom, presence)
        for top in grid.top_bins
        for area in grid.min_areas
        for presence in grid.presence_thresholds
        for bottom in grid.bottom_bins
        if bottom <= top
    ]


def loop(histograms: PredictionHistograms, rules: Sequence[DecisionRule]) -> list[float]:
    """Return the mean Dice of each rule, one rule after another."""
    return [float(score_images(histograms, rule).mean()) for rule in rules]


def draw(images: int, *, presence: bool) -> PredictionHistograms:
    """Draw histograms like the competition's: 22 % positives, with a median area of 8630 pixels of 2**20."""
    rng = np.random.default_rng(0)
    positive = rng.random(images) < 0.22
    area = np.where(positive, np.clip(np.exp(rng.normal(np.log(8630), 1.1, images)), 55, 160_000), 0).astype(np.int64)
    confidence = np.clip(rng.normal(np.where(positive, 0.65, 0.25), 0.2), 0.02, 0.98)
    bins = np.arange(BINS)
    # Most of the pixels outside are in the lowest bins; those inside are spread around the image's confidence.
    outside = np.exp(-bins / (2 + 20 * confidence[:, None] ** 3))
    inside = np.exp(-(((bins - BINS * confidence[:, None]) / 50) ** 2))
    counts = [
        rng.multinomial(number, weights / weights.sum(axis=1, keepdims=True)).astype(np.int32)
        for number, weights in ((area, inside), (PIXELS - area, outside))
    ]
    probabilities = np.clip(confidence + rng.normal(0, 0.1, images), 0, 1) if presence else np.full(images, np.nan)
    return PredictionHistograms(
        image_id=np.array([f"image-{n}" for n in range(images)]),
        fold=(np.arange(images) % 5).astype(np.int16),
        patient=(np.arange(images) // 2).astype(np.int32),
        positive=area > 0,
        pixels=np.full(images, PIXELS, np.int64),
        presence_probability=probabilities.astype(np.float32),
        inside=counts[0],
        outside=counts[1],
    )
