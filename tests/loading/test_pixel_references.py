"""Augmented images and masks against plain loops over their pixels, which share nothing with the loaders.

What is drawn is chosen here. A source point q, as a complex number, comes to ``center + shift + factor * turn * q'`` of
the network's image, q' being its distance from the center there before, and ``turn`` counterclockwise on the screen.
"""

import cmath
import math
from dataclasses import replace

import numpy as np
import pytest
from loading_data import CASES, ROW, plan

from pneumo.loading.augmentation import parameters
from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.distortion import DistortionTransform
from pneumo.loading.augmentation.flip import Flip
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.registry import Augmentation

AMOUNTS = {"shift x": 0.5, "shift y": -0.25, "scale": 0.6, "angle": -0.4}
"""Of the largest change, each in [-1, 1]."""
AFFINE = Affine(probability=1, translate=0.2, scale=0.3, rotate_deg=50)
ON_THE_EDGE = 0.04
"""Distance from the middle between two pixels at which either may be the nearest: OpenCV 4's coordinates are 1/32."""


OFF = Augmentation(flip=Flip(probability=0), affine=Affine(probability=0), intensity=Intensity(probability=0))


class Chosen:
    """A generator that draws what it is told to."""

    def __init__(self, name: str, choice: int) -> None:
        self.name, self.choice = name, choice

    def random(self) -> float:
        return 0.0

    def integers(self, below: int) -> int:
        return self.choice

    def uniform(self, low: float, high: float, count: int | None = None):
        return 0.5 if count is None else np.array(list(AMOUNTS.values()))


def source_point(x: float, y: float, size: int, shape: tuple[int, int], names: set[str]) -> tuple[float, float]:
    """Return where in the source (x, y) the center of a pixel of the network's image comes from."""
    middle = complex((size - 1) / 2, (size - 1) / 2)
    point = complex(x, y)
    if "affine" in names:
        shift = size * 0.2 * complex(AMOUNTS["shift x"], AMOUNTS["shift y"])
        factor, angle = 1 + 0.3 * AMOUNTS["scale"], math.radians(50 * AMOUNTS["angle"])
        # On the screen y points down, so that counterclockwise is the negative angle.
        point = middle + (point - middle - shift) / (factor * cmath.exp(-1j * angle))
    if "flip" in names:
        point = complex(size - 1 - point.real, point.imag)
    rows, columns = shape
    scale = size / max(rows, columns)
    left, top = (size - math.ceil(columns * scale - 1e-6)) // 2, (size - math.ceil(rows * scale - 1e-6)) // 2
    return (point.real + 0.5 - left) / scale - 0.5, (point.imag + 0.5 - top) / scale - 0.5


def pixel(source: np.ndarray, row: int, column: int) -> float:
    """Return a pixel of the source, 0 outside of it."""
    inside = 0 <= row < source.shape[0] and 0 <= column < source.shape[1]
    return float(source[row, column]) if inside else 0.0


def between(source: np.ndarray, x: float, y: float) -> float:
    """Interpolate linearly between four pixels."""
    column, row = math.floor(x), math.floor(y)
    right, down = x - column, y - row
    upper = (1 - right) * pixel(source, row, column) + right * pixel(source, row, column + 1)
    lower = (1 - right) * pixel(source, row + 1, column) + right * pixel(source, row + 1, column + 1)
    return (1 - down) * upper + down * lower


def nearest(source: np.ndarray, x: float, y: float) -> float | None:
    """Return the nearest pixel, or None where two are as near."""
    if any(abs(value - math.floor(value) - 0.5) < ON_THE_EDGE for value in (x, y)):
        return None
    return pixel(source, math.floor(y + 0.5), math.floor(x + 0.5))


@pytest.mark.parametrize("loader", ["opencv", "dali"])
@pytest.mark.parametrize(("name", "size"), [("deep and wide", 96), ("upright", 104)])
@pytest.mark.parametrize("names", [{"flip"}, {"affine"}, {"flip", "affine"}], ids=lambda names: "+".join(sorted(names)))
def test_each_pixel_of_image_and_mask_is_where_the_source_has_it(data, monkeypatch, loader, name, size, names):
    """Flip, then shift, scaling and rotation, of images that need no averaging first."""
    monkeypatch.setattr(parameters, "_generator", lambda name, *_: Chosen(name, 0))
    entries = {"flip": Flip(probability=1), "affine": AFFINE}
    augmentation = replace(OFF, **{entry: entries[entry] for entry in names})
    (batch,) = getattr(data, loader)()([plan([ROW[name]], size, augmentation)])
    image, mask = batch.image[0, 0].numpy(), batch.mask[0, 0].numpy()
    pixels, truth = data.pixels(ROW[name]), data.masks[ROW[name]]
    shape = CASES[ROW[name]].rows, CASES[ROW[name]].columns
    errors, compared = [], 0
    for y, x in np.ndindex(size, size):
        at = source_point(x, y, size, shape, names)
        errors.append(abs(image[y, x] - between(pixels, *at)))
        expected = nearest(truth, *at)
        assert expected is None or mask[y, x] == expected, (x, y)
        compared += expected is not None
    assert np.mean(errors) < 5e-4
    assert max(errors) < 0.02
    assert compared > 0.6 * size**2
    assert 0.02 < mask.mean() < 0.5


@pytest.mark.parametrize("loader", ["opencv", "dali"])
@pytest.mark.parametrize(
    ("choice", "change"),
    [
        pytest.param(0, lambda v: v * (1 + 0.3 * 0.5), id="contrast"),
        pytest.param(1, lambda v: v ** (1 + 0.4 * 0.5), id="gamma"),
        pytest.param(2, lambda v: v + 0.2 * 0.5, id="brightness"),
    ],
)
def test_each_value_is_changed_by_its_formula_and_clipped(data, monkeypatch, loader, choice, change):
    monkeypatch.setattr(parameters, "_generator", lambda name, *_: Chosen(name, choice))
    intensity = Intensity(probability=1, contrast=0.3, gamma=0.4, brightness=0.2)
    row = ROW["deep"]
    (batch,) = getattr(data, loader)()([plan([row], 256, replace(OFF, intensity=intensity))])
    assert np.array_equal(batch.mask[0, 0], data.masks[row])
    values, found = data.pixels(row), batch.image[0, 0].numpy()
    for y, x in np.ndindex(64, 64):
        assert found[y, x] == pytest.approx(min(max(change(float(values[y, x])), 0.0), 1.0), abs=2e-6)


@pytest.mark.parametrize("kind", ["elastic", "grid", "optical"])
def test_distorted_pixels_are_those_of_one_field_for_image_and_mask(kind):
    """The field is read off two ramps, x and y, that the same draw distorts; what is outside of the source is black."""
    size = 48
    y, x = np.mgrid[:size, :size].astype(np.float32)
    blob = (np.hypot(y - 20, x - 26) < 11).astype(np.uint8)
    smooth = (0.5 + 0.4 * np.sin(x / 6) * np.cos(y / 7)).astype(np.float32)

    def distort(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image, mask = image.copy(), mask.copy()
        DistortionTransform(kind=kind, seed=11).apply_to_arrays(image, mask)
        return image, mask

    from_x, from_y, inside = (distort(ramp, blob)[0] for ramp in (x / size, y / size, np.ones_like(x)))
    image, mask = distort(smooth, blob)
    moved = 0
    for row, column in np.ndindex(size, size):
        at = float(from_x[row, column]) * size, float(from_y[row, column]) * size
        if inside[row, column] == 1:
            assert image[row, column] == pytest.approx(between(smooth, *at), abs=5e-3), (row, column)
            expected = nearest(blob, *at)
            assert expected is None or mask[row, column] == expected, (row, column)
            moved += math.hypot(at[0] - column, at[1] - row) > 0.25
    assert moved > 200
