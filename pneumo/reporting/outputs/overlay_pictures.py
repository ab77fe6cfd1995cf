"""overlays/: a picture of each positive image with its mask outlined."""

from pathlib import Path

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting import overlays
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError

SIDE = 768
"""Longer side of a picture in pixels."""


class OverlayPictures:
    """Draws each positive image as it is predicted, and removes the pictures of an earlier prediction at the end.

    A picture's title is its name, which distinguishes it from files that a user put beside it: those stay.

    Args:
        path: The pictures' directory, made for the first one.
        reader: Gives the images' file names.
    """

    def __init__(self, path: Path, reader: ShardReader) -> None:
        self._path, self._table = path, reader.table
        self._drawn: set[str] = set()
        # Known before the networks run, and not only at the first positive image.
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is not a directory", "a directory for the pictures", "give another --out")

    def add(self, image: PredictedImage) -> None:
        """Draw one image."""
        if image.prediction.mask_area == 0:
            return
        panel = overlays.Panel(
            image=image.source, predicted=image.mask, truth=None, caption=f"{image.prediction.mask_area} px"
        )
        name = f"{self._table.wds_key[image.row]}.png"
        overlays.save(self._path / name, overlays.draw(panel, SIDE), title=name)
        self._drawn.add(name)

    def close(self) -> None:
        """Remove the pictures that this prediction did not draw: of other images or of images negative now."""
        earlier = [
            path
            for path in self._path.glob("*.png")
            if path.name not in self._drawn and overlays.has_title(path, path.name)
        ]
        for path in earlier:
            path.unlink()
        if earlier:
            log.info("%s: removed %d pictures of an earlier prediction", self._path, len(earlier))
