"""overlays/: a picture of each positive image with its mask outlined."""

from pathlib import Path

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting import overlays
from pneumo.runtime.errors import UserError

SIDE = 768
"""Longer side of a picture in pixels."""


class OverlayPictures:
    """Draws each positive image when it comes.

    Args:
        folder: The pictures go into its folder ``overlays``, made for the first one.
        reader: Gives the images' file names.
    """

    def __init__(self, folder: Path, reader: ShardReader) -> None:
        self._folder, self._table = folder / "overlays", reader.table
        # Before the networks run: the tables are written only when all images are predicted.
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f"{self._folder} is not a directory", "a directory for the pictures", "give another --out")

    def add(self, image: PredictedImage) -> None:
        """Draw one image."""
        if image.prediction.mask_area == 0:
            return
        panel = overlays.Panel(
            image=image.source, predicted=image.mask, truth=None, caption=f"{image.prediction.mask_area} px"
        )
        overlays.save(self._folder / f"{self._table.wds_key[image.row]}.png", overlays.draw(panel, SIDE))

    def close(self) -> None:
        """Do nothing: the pictures are written."""
