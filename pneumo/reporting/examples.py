"""A run's out-of-fold examples in one picture: large and small lesions, a false positive, and true negatives."""

from collections.abc import Mapping

import numpy as np

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.nested import NestedEstimate, predicted_area
from pneumo.loading.images import read_image
from pneumo.masks import rle
from pneumo.reporting.overlays import Panel, Picture, sheet

POSITIVES = 5
"""Positive images shown, spread evenly from the highest Dice to the lowest."""
NEGATIVES = 3
"""Negative images shown: the largest false positive, if there is one, and images without."""


def draw_examples(
    histograms: PredictionHistograms, nested: NestedEstimate, masks: Mapping[str, str], reader: ShardReader
) -> Picture:
    """Draw the chosen examples with the outlines of the true and the predicted mask.

    Args:
        histograms: Out-of-fold predictions.
        nested: Estimated from ``histograms``.
        masks: Run lengths of the predicted masks by image id.
        reader: The dataset that the run was trained on.
    """
    # A test image may have the same id.
    rows = {str(reader.table.image_id[row]): row for row in reader.table.select("train").tolist()}
    return sheet([_panel(i, histograms, nested, masks, reader, rows) for i in choose(histograms, nested)])


def choose(histograms: PredictionHistograms, nested: NestedEstimate) -> list[int]:
    """Choose positives from the highest Dice to the lowest, the largest false positive, and true negatives.

    Returns:
        Indices into ``histograms``, in this order.
    """
    positive = np.flatnonzero(histograms.positive)
    ranked = positive[np.argsort(-nested.dice[positive], kind="stable")]
    spread = np.linspace(0, len(ranked) - 1, min(POSITIVES, len(ranked))).round().astype(int)
    false_positives = np.flatnonzero(~histograms.positive & nested.predicted_positive)
    largest = false_positives[np.argsort(-predicted_area(histograms, nested)[false_positives], kind="stable")][:1]
    true_negatives = np.flatnonzero(~histograms.positive & ~nested.predicted_positive)[: NEGATIVES - len(largest)]
    return [*ranked[spread].tolist(), *largest.tolist(), *true_negatives.tolist()]


def _panel(
    i: int,
    histograms: PredictionHistograms,
    nested: NestedEstimate,
    masks: Mapping[str, str],
    reader: ShardReader,
    rows: Mapping[str, int],
) -> Panel:
    image_id = str(histograms.image_id[i])
    row = rows[image_id]
    image = read_image(reader, row)
    truth = "pneumothorax" if histograms.positive[i] else "no pneumothorax"
    outlined = histograms.positive[i] or nested.predicted_positive[i]
    return Panel(
        image=image,
        predicted=rle.decode(masks[image_id], *image.shape),
        truth=rle.decode(reader.rle(row), *image.shape),
        caption=f"{truth}, {f'Dice {nested.dice[i]:.2f}' if outlined else 'left empty'}",
    )
