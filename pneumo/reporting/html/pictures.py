"""X-rays in a page: a gray JPEG as data URI, with contours drawn over it as vectors.

Contours are told apart without color: the truth is a solid line, a prediction a dashed one. They are sharp at every
size and in print, and the picture below them is without them.
"""

import base64
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from markupsafe import escape

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

SIDE = 320
"""Pixels of the longer side: sharp at the width of a phone's half screen, 10 to 20 KB."""
_QUALITY = 80
"""Of the JPEG."""
_TOLERANCE = 0.4
"""Pixels of the picture by which a contour may be simplified."""


@dataclass(frozen=True, kw_only=True)
class XrayPicture:
    """A picture for ``page.Figure``."""

    jpeg: bytes
    width: int
    height: int
    description: str
    """What it shows, for those who do not see it."""
    truth: str = ""
    """SVG path of the true mask's outline in pixels of the picture; empty without one."""
    prediction: str = ""
    """SVG path of the predicted mask's outline."""

    def markup(self, number: int) -> str:
        """Return the HTML; ``number`` is not needed, since it has no ids."""
        del number
        data = base64.b64encode(self.jpeg).decode("ascii")
        image = (
            f'<img src="data:image/jpeg;base64,{data}" width="{self.width}" height="{self.height}" '
            f'alt="{escape(self.description)}">'
        )
        paths = "".join(
            f'<path class="{kind}" d="{path}"/>'
            for path, kinds in ((self.truth, ("shadow", "truth")), (self.prediction, ("shadow", "prediction")))
            if path
            for kind in kinds
        )
        contours = f'<svg viewBox="0 0 {self.width} {self.height}" aria-hidden="true">{paths}</svg>' if paths else ""
        return f'<div class="xray">{image}{contours}</div>'


def draw(
    image: Image, description: str, *, truth: Mask | None = None, prediction: Mask | None = None, side: int = SIDE
) -> XrayPicture:
    """Make a picture of an X-ray.

    Args:
        image: (rows, columns) in [0, 1]; may be smaller than the masks, such as one that was decoded at an eighth.
        description: What it shows.
        truth: (rows, columns), 0 or 1, of any size with the image's proportions; None without one.
        prediction: The same of the predicted mask.
        side: Pixels of the longer side; a smaller image is not enlarged.
    """
    scale = min(side / max(image.shape), 1.0)
    height, width = (max(round(length * scale), 1) for length in image.shape)
    gray = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    levels = (np.clip(gray, 0, 1) * 255).round().astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return XrayPicture(
        jpeg=data.tobytes(),
        width=width,
        height=height,
        description=description,
        truth="" if truth is None else outline(truth, width, height),
        prediction="" if prediction is None else outline(prediction, width, height),
    )


def outline(mask: Mask, width: int, height: int) -> str:
    """Return the outline of a mask, holes included, as an SVG path.

    Args:
        mask: (rows, columns), 0 or 1.
        width: Of the picture that the path is drawn over.
        height: Of the picture.
    """
    # A margin, so that a region at the edge has an outline there.
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    contours, _ = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    scale = np.array([width / mask.shape[1], height / mask.shape[0]])
    path = ""
    for contour in contours:
        # Centers of pixels, without the margin.
        points = ((contour[:, 0] - 0.5) * scale).astype(np.float32)
        kept = cv2.approxPolyDP(points, _TOLERANCE, closed=True)[:, 0]
        path += "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in kept.tolist()) + "Z"
    return path
