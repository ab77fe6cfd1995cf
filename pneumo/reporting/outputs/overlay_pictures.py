"""overlays/: a picture of each positive image with its mask outlined."""

import shutil
import tempfile
from pathlib import Path

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting import overlays
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.files import temporary_prefix

SIDE = 768
"""Longer side of a picture in pixels."""


class OverlayPictures:
    """Draws each positive image as it is predicted, and replaces the pictures of an earlier prediction at the end.

    Until then they are in a hidden directory beside it, so that an interrupted prediction leaves no mixture.

    A picture's title is its name, which distinguishes it from files that a user put beside it: those stay.

    Args:
        path: The pictures' directory, made for the first one.
        reader: Gives the images' file names.
    """

    def __init__(self, path: Path, reader: ShardReader) -> None:
        self._path, self._table = path, reader.table
        self._drawn: set[str] = set()
        self._staging: Path | None = None
        # Known before the networks run, and not only at the first positive image.
        if path.is_symlink():
            raise UserError(f"{path} is a link", "a directory for the pictures", "remove it, or give another --out")
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
        if self._staging is None:
            self._staging = Path(tempfile.mkdtemp(dir=self._path.parent, prefix=temporary_prefix(self._path.name)))
        try:
            overlays.save(self._staging / name, overlays.draw(panel, SIDE), title=name)
        except OSError:
            # As on a full disk: what is drawn is shown, and nothing of an earlier prediction beside it.
            self.close()
            raise
        self._drawn.add(name)

    def close(self) -> None:
        """Move the pictures to their directory, and remove those of an earlier prediction from it."""
        if self._staging is not None:
            self._path.mkdir(parents=True, exist_ok=True)
            for name in self._drawn:
                (self._staging / name).replace(self._path / name)
            shutil.rmtree(self._staging, ignore_errors=True)
        earlier = [
            path
            for path in self._path.glob("*.png")
            if path.name not in self._drawn and overlays.has_title(path, path.name)
        ]
        for path in earlier:
            path.unlink()
        if earlier:
            log.info("%s: removed %s of an earlier prediction", self._path, counted(len(earlier), "picture"))
