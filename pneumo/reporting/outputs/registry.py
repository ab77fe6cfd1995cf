"""The registry of outputs that job/predict.py can write, by their names on the command line.

An output is made with its path and what it can know (``OutputContext``), gets each image as it is predicted, and is
closed after the last one::

    class MyOutput:
        def __init__(self, path: Path, context: OutputContext) -> None: ...
        def add(self, image: PredictedImage) -> None: ...
        def close(self) -> None: ...

It may keep numbers and run lengths until it is closed, but no pixels: memory must not grow with the number of images.
What it writes at its path is published when all outputs are closed, and replaces that of an earlier prediction.
"""

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pneumo.runtime.errors import UserError

if TYPE_CHECKING:
    from pneumo.inference.ensembler import PredictedImage
    from pneumo.reporting.outputs.context import OutputContext


class Output(Protocol):
    """Writes predictions in some form."""

    def add(self, image: "PredictedImage") -> None:
        """Take one image."""
        ...

    def close(self) -> None:
        """Write what can be written only after the last image, when the reader's images are deleted already."""
        ...


class OutputEntry(NamedTuple):
    """A line of the registry. The class is imported when it is used: the command line needs the names alone."""

    file: str
    """Name of the file or directory."""
    module: str
    """Module of this package."""
    output_class: str
    by_default: bool = True

    def make(self, directory: Path, context: "OutputContext") -> Output:
        """Make the output, which writes into a directory."""
        module = importlib.import_module(f"pneumo.reporting.outputs.{self.module}")
        output: Output = getattr(module, self.output_class)(directory / self.file, context)
        return output


OUTPUTS: Mapping[str, OutputEntry] = {
    "predictions": OutputEntry("predictions.csv", "predictions_csv", "PredictionsCsv"),
    "findings": OutputEntry("findings.csv", "findings_csv", "FindingsCsv"),
    "overlays": OutputEntry("overlays", "overlay_pictures", "OverlayPictures"),
    "segmentations": OutputEntry("segmentations", "segmentations", "Segmentations"),
    "secondary-captures": OutputEntry("secondary_captures", "secondary_captures", "SecondaryCaptures", False),
    "summary": OutputEntry("summary.html", "summary_page", "SummaryPage"),
}
"""The outputs by name."""
DEFAULT_OUTPUTS = tuple(name for name, entry in OUTPUTS.items() if entry.by_default)


def check_directory(directory: Path, names: Collection[str]) -> None:
    """Refuse a directory in which results of an earlier prediction would be left beside those of this one.

    Args:
        directory: Where the results go.
        names: The outputs chosen; what an earlier prediction wrote of these is replaced.

    Raises:
        UserError: When there is another output's file.
    """
    left = [entry.file for name, entry in OUTPUTS.items() if name not in names and (directory / entry.file).exists()]
    if left:
        raise UserError(
            f"{directory} has {', '.join(left)} of an earlier prediction, and --outputs is {' '.join(names)}",
            "results of one prediction in one directory",
            "choose these outputs too, move them away, or give another --out",
        )
