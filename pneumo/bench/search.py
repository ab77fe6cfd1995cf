"""The exhaustive threshold search against a loop over the same rules.

The loop scores one rule after another, each over all images at once. It would take too long to run as a whole, so
it is timed on rules spread evenly over the grid, and its time is multiplied up to the grid's size.
"""

from collections.abc import Sequence

import numpy as np

from pneumo.bench.race import Measure, per_item, race
from pneumo.bench.source import Settings, Source
from pneumo.inference.decision_rule import DecisionRule, SearchGrid, nested_estimate, score_images, search
from pneumo.inference.histograms import BINS, PredictionHistograms

PIXELS = 1 << 20


def measure(settings: Settings, source: Source) -> list[Measure]:
    """Search for one rule, and for one rule a fold, with and without the head."""
    measures = []
    for head in (False, True):
        evidence = draw(settings.histograms, head=head)
        measures += _measure(evidence, settings, "with head" if head else "no head")
    return measures


def _measure(evidence: PredictionHistograms, settings: Settings, variant: str) -> list[Measure]:
    grids = SearchGrid()
    every = rules(grids if variant == "with head" else SearchGrid(presence_thresholds=(0.0,)))
    places = np.linspace(0, len(every) - 1, min(settings.rules, len(every))).round().astype(int)
    sample = [DecisionRule(*every[place]) for place in places]
    count = len(every)
    # Hundreds of thousands of objects would slow the collection of garbage down.
    del every
    best = score_images(evidence, search(evidence, grids)).mean()
    assert best >= max(loop(evidence, sample)) - 1e-9, "the search missed a better rule"
    contenders = [
        lambda: search(evidence, grids),
        lambda: nested_estimate(evidence, grids),
        lambda: loop(evidence, sample),
    ]
    whole, folds, sampled = race(contenders, settings.repeat)
    extrapolated = [seconds * count / len(sample) for seconds in sampled]
    images = f"{len(evidence):,} images, {variant}"
    peer = f"loop, extrapolated from {len(sample):,} of {count:,} rules"
    return [
        per_item("search", f"{what}, {images}", peer, "s", ours=ours, theirs=extrapolated, scale=1)
        for what, ours in (("search", whole), ("nested", folds))
    ]


def rules(grids: SearchGrid) -> list[tuple[int, float, int, float]]:
    """List the values of every rule of the grids, as four nested loops visit them."""
    return [
        (top, area, bottom, head)
        for top in grids.top_thresholds
        for area in grids.min_areas
        for head in grids.presence_thresholds
        for bottom in grids.bottom_thresholds
        if bottom <= top
    ]


def loop(evidence: PredictionHistograms, visited: Sequence[DecisionRule]) -> list[float]:
    """Return the mean Dice of each rule, one rule after another."""
    return [float(score_images(evidence, rule).mean()) for rule in visited]


def draw(images: int, *, head: bool) -> PredictionHistograms:
    """Draw evidence in the competition's proportions: 22 % positives, their median area 8630 pixels of 2**20."""
    rng = np.random.default_rng(0)
    positive = rng.random(images) < 0.22
    area = np.where(positive, np.clip(np.exp(rng.normal(np.log(8630), 1.1, images)), 55, 160_000), 0).astype(np.int64)
    confidence = np.clip(rng.normal(np.where(positive, 0.65, 0.25), 0.2), 0.02, 0.98)
    bins = np.arange(BINS)
    # Most of the pixels outside lie in the lowest bins; those inside spread around the image's confidence.
    outside = np.exp(-bins / (2 + 20 * confidence[:, None] ** 3))
    inside = np.exp(-(((bins - BINS * confidence[:, None]) / 50) ** 2))
    counts = [
        rng.multinomial(number, shares / shares.sum(axis=1, keepdims=True)).astype(np.int32)
        for number, shares in ((area, inside), (PIXELS - area, outside))
    ]
    heads = np.clip(confidence + rng.normal(0, 0.1, images), 0, 1) if head else np.full(images, np.nan)
    return PredictionHistograms(
        image_id=np.array([f"image-{n}" for n in range(images)]),
        fold=(np.arange(images) % 5).astype(np.int16),
        patient=(np.arange(images) // 2).astype(np.int32),
        positive=area > 0,
        pixels=np.full(images, PIXELS, np.int64),
        presence_probability=heads.astype(np.float32),
        inside=counts[0],
        outside=counts[1],
    )
