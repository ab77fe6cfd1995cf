"""A run's out-of-fold examples as one picture: how it does on large and small lesions, and where it fails."""

from collections.abc import Mapping

import numpy as np

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dicom import image_codec
from pneumo.inference.decision_rule import NestedEstimate
from pneumo.inference.histograms import PredictionHistograms
from pneumo.masks import rle
from pneumo.reporting.overlays import Panel, Picture, sheet

POSITIVES = 5
"""Positive images shown, spread evenly from the best outlined to the worst."""


def picture(
    evidence: PredictionHistograms, nested: NestedEstimate, masks: Mapping[str, str], reader: ShardReader
) -> Picture:
    """Draw positives from the best Dice to the worst, the largest false alarm, and healthy images left empty."""
    positive = np.flatnonzero(evidence.positive)
    ranked = positive[np.argsort(-nested.dice[positive], kind="stable")]
    spread = np.linspace(0, len(ranked) - 1, min(POSITIVES, len(ranked))).round().astype(int)
    alarms = np.flatnonzero(~evidence.positive & nested.predicted_positive)
    quiet = np.flatnonzero(~evidence.positive & ~nested.predicted_positive)
    chosen = [*ranked[spread].tolist(), *alarms[:1].tolist(), *quiet[: 3 - min(len(alarms), 1)].tolist()]
    # A test image may have the same id.
    rows = {str(reader.table.image_id[row]): row for row in reader.table.select("train").tolist()}
    return sheet([_panel(i, evidence, nested, masks, reader, rows) for i in chosen])


def _panel(
    i: int,
    evidence: PredictionHistograms,
    nested: NestedEstimate,
    masks: Mapping[str, str],
    reader: ShardReader,
    rows: Mapping[str, int],
) -> Panel:
    image_id = str(evidence.image_id[i])
    row = rows[image_id]
    image = image_codec.to_float(image_codec.decode(reader.image(row)))
    truth = "pneumothorax" if evidence.positive[i] else "healthy"
    found = f"Dice {nested.dice[i]:.2f}" if evidence.positive[i] or nested.predicted_positive[i] else "left empty"
    return Panel(
        image=image,
        predicted=rle.decode(masks[image_id], *image.shape),
        truth=rle.decode(reader.rle(row), *image.shape),
        caption=f"{truth}, {found}",
    )
