"""The table of outputs that job/predict.py can write, by their names on the command line.

An output gets each image as it is predicted (``ensembler.PredictedImage``), and is closed after the last one::

    class MyOutput:
        def __init__(self, folder: Path, reader: ShardReader) -> None: ...
        def add(self, image: PredictedImage) -> None: ...
        def close(self) -> None: ...

It may keep numbers and run lengths until it is closed, but no pixels: memory must not grow with the number of images.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.ensembler import PredictionSink
from pneumo.reporting.outputs.findings_csv import FindingsCsv
from pneumo.reporting.outputs.overlay_pictures import OverlayPictures
from pneumo.reporting.outputs.predictions_csv import PredictionsCsv


class Output(PredictionSink, Protocol):
    """Writes predictions in some form."""

    def close(self) -> None:
        """Publish what can be written only after the last image."""
        ...


OUTPUTS: Mapping[str, Callable[[Path, ShardReader], Output]] = {
    "predictions": PredictionsCsv,
    "findings": FindingsCsv,
    "overlays": OverlayPictures,
}
"""Each is made with the folder of the results and the reader of the images."""
