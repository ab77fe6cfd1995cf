"""Pictures: outlines where the masks are, in their colors."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from pneumo.reporting.overlays import CAPTION_ROWS, PREDICTION, TRUTH, Panel, draw, save, sheet


def panel(rows: int = 100, columns: int = 100, truth: bool = True) -> Panel:
    predicted, true = np.zeros((2, rows, columns), np.uint8)
    predicted[20:40, 20:40] = 1
    true[60:80, 60:80] = 1
    return Panel(
        image=np.full((rows, columns), 0.5, np.float32), predicted=predicted, truth=true if truth else None, caption="x"
    )


def near(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Return rows and columns of pixels close to a color."""
    return np.argwhere(np.abs(picture.astype(int) - color).max(axis=2) < 40)


def test_outlines_are_where_the_masks_are() -> None:
    picture = draw(panel(), side=200)
    assert picture.shape == (200 + CAPTION_ROWS, 200, 3)
    for color, low, high in [(PREDICTION, 40, 80), (TRUTH, 120, 160)]:
        places = near(picture, color) - [CAPTION_ROWS, 0]
        assert len(places) > 50
        assert places.min() >= low - 3
        assert places.max() <= high + 3
    # The inside shows the X-ray.
    assert picture[CAPTION_ROWS + 60, 60].tolist() == [127, 127, 127]


def test_a_hole_of_a_mask_has_an_outline() -> None:
    ring = np.zeros((100, 100), np.uint8)
    ring[20:80, 20:80] = 1
    ring[40:60, 40:60] = 0
    both = Panel(image=np.full((100, 100), 0.5, np.float32), predicted=ring, truth=ring, caption="x")
    for one, color in ((both, PREDICTION), (replace(both, predicted=np.zeros_like(ring)), TRUTH)):
        places = near(draw(one, side=200), color) - [CAPTION_ROWS, 0]
        inner = places[(abs(places - 100) < 25).all(axis=1)]
        assert len(inner) > 40
        assert inner.min() >= 77
        assert inner.max() <= 123


def test_the_outlines_are_told_apart_without_color() -> None:
    """One is solid, the other is dashed: half of it is missing."""
    picture = draw(panel(), side=200)
    around = {}
    for name, color, low, high in (("predicted", PREDICTION, 40, 80), ("true", TRUTH, 120, 160)):
        drawn = {(x, y) for y, x in (near(picture, color) - [CAPTION_ROWS, 0]).tolist()}
        edge = [(x, y) for x in range(low, high) for y in (low, high - 1)]
        edge += [(x, y) for y in range(low, high) for x in (low, high - 1)]
        around[name] = sum((x, y) in drawn for x, y in edge) / len(edge)
    assert around["true"] > 0.95
    assert 0.4 < around["predicted"] < 0.75


def test_a_picture_is_saved_as_it_is(tmp_path: Path) -> None:
    picture, path = draw(panel(), side=64), tmp_path / "a.png"
    save(path, picture)
    assert np.array_equal(cv2.imread(str(path)), picture)


def test_without_a_truth_there_is_no_green() -> None:
    assert len(near(draw(panel(truth=False), side=200), TRUTH)) == 0


def test_an_image_that_is_not_square_keeps_its_shape() -> None:
    picture = draw(panel(rows=50, columns=100), side=100)
    gray = np.argwhere((picture == 127).all(axis=2))
    assert gray[:, 0].min() >= CAPTION_ROWS + 25
    assert gray[:, 0].max() < CAPTION_ROWS + 75


def test_a_sheet_is_saved_as_a_picture(tmp_path: Path) -> None:
    picture = sheet([panel()] * 5, columns=2, side=64)
    save(tmp_path / "overlay.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "overlay.png")), picture)
    assert picture.shape[0] > 3 * 64
