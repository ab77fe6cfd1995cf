"""Which out-of-fold images are shown, and that their outlines are drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import BINS, PredictionHistograms
from pneumo.inference.nested import NestedEstimate
from pneumo.masks import rle
from pneumo.reporting.examples import choose, draw_examples
from pneumo.reporting.overlays import CAPTION_ROWS, GAP, PREDICTION, TRUTH

RULE = DecisionRule(128, 0.0, 100)


def histograms_of(ids: list[str], truth: list[int], predicted: list[int], pixels: list[int]) -> PredictionHistograms:
    """Give each image so many pixels of the true mask (in bin 0) and of the predicted one (in bin 200, outside)."""
    n = len(ids)
    inside, outside = np.zeros((2, n, BINS), np.int32)
    inside[:, 0] = truth
    outside[:, 200] = predicted
    outside[:, 0] = np.array(pixels) - truth - predicted
    return PredictionHistograms(
        image_id=np.array(ids),
        fold=np.zeros(n, np.int16),
        patient=np.arange(n, dtype=np.int32),
        positive=np.array(truth) > 0,
        pixels=np.array(pixels, np.int64),
        presence_probability=np.full(n, np.nan, np.float32),
        inside=inside,
        outside=outside,
    )


def nested_of(dice: list[float], predicted: list[int]) -> NestedEstimate:
    return NestedEstimate(
        rule_index=np.zeros(len(dice), np.int64),
        rules=(RULE,),
        final=RULE,
        dice=np.array(dice),
        predicted_positive=np.array(predicted) > 0,
    )


def test_positives_from_best_to_worst_the_largest_false_positive_and_true_negatives() -> None:
    # Seven positives, four false positives (the third is largest as a part of its image), three true negatives.
    truth = [50] * 7 + [0] * 7
    predicted = [10] * 7 + [300, 40, 200, 200] + [0] * 3
    pixels = [10_000] * 9 + [2_000, 4_000] + [10_000] * 3
    dice = [0.4, 0.9, 0.1, 0.7, 0.5, 0.2, 0.8] + [0.0] * 4 + [1.0] * 3
    histograms = histograms_of([f"1.{i}" for i in range(14)], truth, predicted, pixels)
    # Ranked: .9 .8 .7 .5 .4 .2 .1; five of seven, evenly: ranks 0, 2 (of 1.5), 3, 4 (of 4.5), 6.
    assert choose(histograms, nested_of(dice, predicted)) == [1, 3, 4, 0, 2, 9, 11, 12]


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 2]),
        ([0, 0, 0, 0], [5, 9, 7, 8], [1]),
        ([9, 9], [0, 5], [1, 0]),
    ],
)
def test_kinds_that_do_not_occur_are_not_shown(truth: list[int], predicted: list[int], expected: list[int]) -> None:
    histograms = histograms_of([f"1.{i}" for i in range(len(truth))], truth, predicted, [400] * len(truth))
    dice = [float(p > 0) if t else float(p == 0) for t, p in zip(truth, predicted, strict=True)]
    assert choose(histograms, nested_of(dice, predicted)) == expected


def test_area_is_taken_at_the_rule_of_each_image() -> None:
    histograms = histograms_of(["1.0", "1.1"], [0, 0], [60, 50], [400, 400])
    nested = NestedEstimate(
        rule_index=np.array([0, 1]),
        rules=(RULE, DecisionRule(128, 0.0, 1)),
        final=RULE,
        dice=np.zeros(2),
        predicted_positive=np.ones(2, bool),
    )
    assert choose(histograms, nested) == [0]
    # Pixels between the two bottom thresholds count for the second image alone.
    outside = histograms.outside.copy()
    outside[:, 0] -= 20
    outside[:, 1] += 20
    wider = replace(histograms, outside=outside)
    assert choose(wider, nested) == [1]


def test_a_panel_for_each_choice_with_both_outlines(dataset: Path) -> None:
    reader = ShardReader(dataset, SampleTable.read(dataset))
    table = reader.table
    rows = np.flatnonzero(table.positive)[:2]
    shapes = [table.shape(r) for r in rows]
    square = np.zeros(shapes[0], np.uint8)
    square[10:40, 10:40] = 1
    ids = table.image_id[rows].tolist()
    truth = [int(table.mask_area[r]) for r in rows]
    histograms = histograms_of(ids, truth, [900, 0], [a * b for a, b in shapes])
    picture = draw_examples(
        histograms, nested_of([0.5, 0.0], [900, 0]), {ids[0]: rle.encode(square), ids[1]: rle.EMPTY}, reader
    )
    side = 320
    assert picture.shape == (side + CAPTION_ROWS, 2 * side + GAP, 3)
    first, second = picture[CAPTION_ROWS:, :side], picture[CAPTION_ROWS:, side + GAP :]
    near = [
        {color: int((np.abs(panel.astype(int) - color).max(axis=2) < 30).sum()) for color in (TRUTH, PREDICTION)}
        for panel in (first, second)
    ]
    assert near[0][TRUTH] > 20
    assert near[0][PREDICTION] > 50
    assert near[1][TRUTH] > 20
    assert near[1][PREDICTION] == 0
