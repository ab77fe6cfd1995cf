"""overlays/: a picture of each positive image, or of every image, with its mask outlined."""

from pathlib import Path

from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting import overlays
from pneumo.reporting.outputs.context import OutputContext

SIDE = 768
"""Longer side of a picture in pixels."""


class OverlayPictures:
    """Draws each image as it is predicted.

    Args:
        path: The pictures' directory, made for the first one.
        context: Has the images' file names, and whether images without a mask are drawn.
    """

    def __init__(self, path: Path, context: OutputContext) -> None:
        self._path, self._context = path, context

    def add(self, image: PredictedImage) -> None:
        """Draw one image."""
        if image.prediction.mask_area == 0 and not self._context.all_overlays:
            return
        panel = overlays.Panel(
            image=image.source, predicted=image.mask, truth=None, caption=f"{image.prediction.mask_area} px"
        )
        name = f"{self._context.table.wds_key[image.row]}.png"
        overlays.save(self._path / name, overlays.draw(panel, SIDE))

    def close(self) -> None:
        """Do nothing: the pictures are drawn."""
