"""overlays/: a picture of each positive image, or of every image, with its mask outlined."""

import math
from pathlib import Path

from pneumo.inference.ensembler import ImagePrediction, PredictedImage
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
        name = f"{self._context.table.wds_key[image.row]}.png"
        overlays.save(self._path / name, overlays.draw(panel_of(image, self._context), SIDE))

    def close(self) -> None:
        """Do nothing: the pictures are drawn."""


def panel_of(image: PredictedImage, context: OutputContext) -> overlays.Panel:
    """Return what is drawn of an image: its mask's outline, and a caption with probability and area."""
    caption = _caption(image.prediction, context.area_mm2(image), at_detector=context.is_at_detector(image))
    return overlays.Panel(image=image.source, predicted=image.mask, truth=None, caption=caption)


def _caption(prediction: ImagePrediction, area_mm2: float, *, at_detector: bool) -> str:
    """Return the caption, in letters that OpenCV's font has: probability and area."""
    presence = prediction.presence_probability
    probability = (
        f"highest pixel probability {prediction.max_pixel_probability:.2f}"
        if math.isnan(presence)
        else f"presence probability {presence:.2f}"
    )
    where = " on the detector" if at_detector else ""
    area = f"{prediction.mask_area} px" + ("" if math.isnan(area_mm2) else f" = {area_mm2:.0f} mm2{where}")
    found = f"pneumothorax predicted, {area}" if prediction.mask_area else "no pneumothorax predicted"
    return f"{found}; {probability}; not for clinical use"
