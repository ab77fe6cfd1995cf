"""The registry of outputs that job/predict.py can write, by their names on the command line.

An output gets each image as it is predicted, and is closed after the last one::

    class MyOutput:
        def __init__(self, path: Path, reader: ShardReader) -> None: ...
        def add(self, image: PredictedImage) -> None: ...
        def close(self) -> None: ...

It may keep numbers and run lengths until it is closed, but no pixels: memory must not grow with the number of images.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting.outputs.findings_csv import FindingsCsv
from pneumo.reporting.outputs.overlay_pictures import OverlayPictures
from pneumo.reporting.outputs.predictions_csv import PredictionsCsv


class Output(Protocol):
    """Writes predictions in some form."""

    def add(self, image: PredictedImage) -> None:
        """Take one image."""
        ...

    def close(self) -> None:
        """Publish what can be written only after the last image, when the reader's images are deleted already."""
        ...


OUTPUTS: Mapping[str, tuple[str, Callable[[Path, ShardReader], Output]]] = {
    "predictions": ("predictions.csv", PredictionsCsv),
    "findings": ("findings.csv", FindingsCsv),
    "overlays": ("overlays", OverlayPictures),
}
"""The name of each output's file or directory, and its class, made with its path and the reader of the images."""
