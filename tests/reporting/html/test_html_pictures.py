"""Pictures of X-rays: a JPEG that decodes, outlines where the mask is, told apart without color."""

import base64
import re

import cv2
import numpy as np
import pytest

from pneumo.reporting.html import pictures
from pneumo.reporting.html.pictures import outline


def square(size: int = 100) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[20:40, 50:80] = 1
    return mask


def points(path: str) -> np.ndarray:
    return np.array([[float(v) for v in pair] for pair in re.findall(r"([-\d.]+) ([-\d.]+)", path)])


def test_the_picture_is_the_image_at_its_size() -> None:
    image = np.tile(np.linspace(0, 1, 600, dtype=np.float32), (400, 1))
    picture = pictures.draw(image, "a <b>", side=300)
    assert (picture.width, picture.height) == (300, 200)
    html = picture.markup(1)
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape == (200, 300)
    assert np.abs(decoded[100] / 255 - np.linspace(0, 1, 300)).max() < 0.02
    assert 'alt="a &lt;b&gt;"' in html
    assert "<svg" not in html


def test_a_small_image_is_not_enlarged() -> None:
    picture = pictures.draw(np.zeros((10, 20), np.float32), "d")
    assert (picture.width, picture.height) == (20, 10)


def test_the_outline_encloses_the_mask_at_the_pictures_scale() -> None:
    found = points(outline(square(), 200, 50))
    assert found.min(axis=0) == pytest.approx([100, 10], abs=1.5)
    assert found.max(axis=0) == pytest.approx([160, 20], abs=1.5)


def test_holes_edges_and_several_regions_have_outlines() -> None:
    mask = square()
    mask[28:32, 60:70] = 0
    mask[:5, :5] = 1
    assert outline(mask, 100, 100).count("M") == 3
    full = points(outline(np.ones((10, 10), np.uint8), 10, 10))
    assert full.min() >= 0
    assert full.max() <= 10
    assert outline(np.zeros((10, 10), np.uint8), 10, 10) == ""


def test_truth_and_prediction_are_told_apart_without_color() -> None:
    image = np.zeros((100, 100), np.float32)
    html = pictures.draw(image, "d", truth=square(), prediction=square()).markup(1)
    assert re.findall(r'<path class="(\w+)"', html) == ["shadow", "truth", "shadow", "prediction"]
    assert 'aria-hidden="true"' in html
    assert pictures.draw(image, "d", truth=np.zeros((100, 100), np.uint8)).markup(1).count("<path") == 0
