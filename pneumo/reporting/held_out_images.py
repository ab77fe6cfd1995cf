"""Pictures of the same held-out images at each validation: large, medium and small lesions, and a negative.

They are taken from the validation's own predictions, so that they cost no second pass.
"""

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows, SampleTable
from pneumo.inference.histograms import BINS
from pneumo.inference.prediction import PredictedBatch
from pneumo.loading.images import read_image
from pneumo.masks import rle
from pneumo.reporting.overlays import Panel, Picture, draw

SIDE = 320
"""Pixels of a picture's longer side, and of the predictions that are kept for it."""
QUANTILES = {"large": 0.9, "medium": 0.5, "small": 0.1}
"""Lesions that are shown, by the quantile of their area among the positive images."""
NEGATIVE = "negative"

SmallMaps = dict[int, npt.NDArray[np.uint8]]
"""Quantized probabilities at the size of the picture, by row of the sample table."""


def choose(table: SampleTable, rows: Rows) -> dict[str, int]:
    """Choose held-out images by the area of their lesion as a fraction of the image; equal tables give equal choices.

    Returns:
        The row of each image by what it shows, each row once.
    """
    positive = rows[table.positive[rows]]
    fraction = table.mask_area[positive] / (table.rows[positive].astype(np.int64) * table.columns[positive])
    ranked = positive[np.argsort(fraction, kind="stable")]
    chosen: dict[str, int] = {}
    for name, quantile in QUANTILES.items():
        if len(ranked) > len(chosen):
            left = ranked[~np.isin(ranked, list(chosen.values()))]
            chosen[name] = int(left[round(quantile * (len(left) - 1))])
    negative = rows[~table.positive[rows]]
    if len(negative):
        chosen[NEGATIVE] = int(negative[0])
    return chosen


class HeldOutImages:
    """Keeps what is predicted for the chosen images, small.

    Args:
        reader: The dataset.
        rows: Rows of the validation's images.
    """

    def __init__(self, reader: ShardReader, rows: Rows) -> None:
        self._reader, self.chosen = reader, choose(reader.table, rows)
        self._kept: SmallMaps = {}

    def observe(self, batch: PredictedBatch) -> None:
        """Keep the predictions of the chosen images that are in a batch: no others leave the device."""
        for i, row in enumerate(batch.rows):
            if row in self.chosen.values():
                self._kept[row] = _shrink(batch.bins(i).cpu().numpy())

    def take(self) -> SmallMaps:
        """Return what was kept since the last call."""
        kept, self._kept = self._kept, {}
        return kept

    def draw(self, maps: Mapping[int, npt.NDArray[np.uint8]]) -> dict[str, Picture]:
        """Draw the chosen images with the outlines of the true mask and of the pixels of probability 0.5 or more.

        Args:
            maps: What all ranks kept.
        """
        return {name: draw(self._panel(row, maps[row]), SIDE) for name, row in self.chosen.items()}

    def _panel(self, row: int, bins: npt.NDArray[np.uint8]) -> Panel:
        image = read_image(self._reader, row)
        truth = rle.decode(self._reader.rle(row), *image.shape)
        grown = cv2.resize(bins, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        predicted = (grown >= BINS // 2).astype(np.uint8)
        return Panel(image=image, predicted=predicted, truth=truth, caption=_caption(truth, predicted))


def _shrink(bins: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = min(SIDE / max(bins.shape), 1.0)
    size = (max(round(bins.shape[1] * scale), 1), max(round(bins.shape[0] * scale), 1))
    return cv2.resize(bins, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _caption(truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]) -> str:
    if not truth.any():
        return f"no pneumothorax, {predicted.mean():.1%} outlined"
    dice = 2 * int((truth & predicted).sum()) / (int(truth.sum()) + int(predicted.sum()))
    return f"Dice {dice:.2f} at probability 0.5"
