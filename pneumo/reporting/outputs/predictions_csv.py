"""predictions.csv: the masks as run lengths, one row per image, as in a submission."""

from pathlib import Path

import numpy as np

from pneumo.inference.ensembler import PredictedImage
from pneumo.masks import submission
from pneumo.reporting.outputs.context import OutputContext


class PredictionsCsv:
    """Writes the run lengths of all images, checked like a submission.

    Args:
        path: The CSV to write.
        context: Has the images' sizes.
    """

    def __init__(self, path: Path, context: OutputContext) -> None:
        self._path, self._table = path, context.table
        self._masks: list[tuple[str, str]] = []
        self._rows: list[int] = []

    def add(self, image: PredictedImage) -> None:
        """Keep the run lengths of one image."""
        self._masks.append((image.prediction.image_id, image.prediction.rle))
        self._rows.append(image.row)

    def close(self) -> None:
        """Publish the file.

        Raises:
            UserError: When the rows do not make a submission.
        """
        submission.write(self._path, self._masks, self._table.shapes(np.array(self._rows, np.int64)))
