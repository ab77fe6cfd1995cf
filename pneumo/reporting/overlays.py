"""Pictures of masks on X-rays: the true mask has a solid green outline, the predicted one a dashed orange outline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.runtime.files import publish

TRUTH = (96, 208, 64)
PREDICTION = (0, 140, 255)
"""Colors in OpenCV's order: blue, green, red."""
DASH = 7
"""Pixels of a dash, and of the gap behind it."""
CAPTION_ROWS = 22
GAP = 6

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, kw_only=True)
class Panel:
    """One image with its masks."""

    image: npt.NDArray[np.float32]
    """(rows, columns) in [0, 1]."""
    predicted: npt.NDArray[np.uint8]
    """(rows, columns), 0 or 1."""
    truth: npt.NDArray[np.uint8] | None
    """(rows, columns), 0 or 1; None when it is unknown."""
    caption: str


def draw(panel: Panel, side: int) -> Picture:
    """Draw one panel, scaled to fit a square of ``side`` pixels with its caption above: (side + caption, side, 3)."""
    scale = side / max(panel.image.shape)
    size = (max(round(panel.image.shape[1] * scale), 1), max(round(panel.image.shape[0] * scale), 1))
    resized = cv2.resize(panel.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture = np.repeat((resized * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if panel.truth is not None:
        _outline(picture, panel.truth, TRUTH, dashed=False)
    _outline(picture, panel.predicted, PREDICTION, dashed=True)
    canvas = np.zeros((side + CAPTION_ROWS, side, 3), np.uint8)
    top, left = CAPTION_ROWS + (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = picture
    cv2.putText(canvas, panel.caption, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)
    return canvas


def sheet(panels: Sequence[Panel], *, columns: int = 4, side: int = 320) -> Picture:
    """Arrange panels in rows: (height, width, 3)."""
    drawn = [draw(panel, side) for panel in panels]
    rows = -(-len(drawn) // columns)
    columns = min(columns, len(drawn))
    height, width = side + CAPTION_ROWS, side
    picture = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 24, np.uint8)
    for i, panel in enumerate(drawn):
        y, x = (i // columns) * (height + GAP), (i % columns) * (width + GAP)
        picture[y : y + height, x : x + width] = panel
    return picture


def save(path: Path, picture: Picture) -> None:
    """Publish a picture as PNG.

    Args:
        path: The file; an existing one is replaced.
        picture: (height, width, 3) or (height, width).
    """
    _, data = cv2.imencode(".png", picture)
    with publish(path) as file:
        file.write(data.tobytes())


def _outline(picture: Picture, mask: npt.NDArray[np.uint8], color: tuple[int, int, int], *, dashed: bool) -> None:
    resized = cv2.resize(mask, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_AREA)
    contours, _ = cv2.findContours(resized, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        closed = np.concatenate([contour, contour[:1]])
        starts = range(0, len(closed) - 1, 2 * DASH) if dashed else [0]
        lines = [closed[start : start + DASH + 1] if dashed else closed for start in starts]
        cv2.polylines(picture, lines, isClosed=False, color=color, thickness=2, lineType=cv2.LINE_AA)
