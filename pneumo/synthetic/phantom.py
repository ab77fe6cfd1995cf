"""A synthetic frontal chest X-ray, with or without a pneumothorax, and the mask of the pneumothorax.

The shapes add to or subtract from the thickness of tissue that the beam passes, and an exposure curve converts
thickness to brightness. A pneumothorax is air between the chest wall and the collapsed lung: slightly darker than
lung, without vessels, and bordered by the thin bright line of the visceral pleura.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.synthetic import anatomy as shapes
from pneumo.synthetic.anatomy import SIDES, Anatomy, draw_anatomy
from pneumo.synthetic.canvas import Canvas, Layer, Points, Stroke, open_curve
from pneumo.synthetic.pneumothorax import Pneumothorax, draw_pneumothorax
from pneumo.synthetic.vessels import vessel_tree

View = Literal["PA", "AP"]

AP_FRACTION = 0.43
"""Fraction of AP views, as among the images of the competition."""


class Phantom(NamedTuple):
    """A synthetic X-ray and its ground truth."""

    image: npt.NDArray[np.uint8]
    """(size, size), from 0 for air outside the body to 255 for the densest tissue."""
    mask: npt.NDArray[np.uint8]
    """(size, size), 1 inside the pneumothorax, 0 elsewhere."""
    view: View
    """``"PA"``, or ``"AP"`` for a bedside X-ray: magnified, less sharp and of lower contrast."""


@dataclass(frozen=True, kw_only=True)
class _Regions:
    """Each pixel's coverage by the large shapes, (size, size) each, against which the other parts are drawn."""

    body: Layer
    walls: dict[int, Layer]
    """The inside of each half of the rib cage, by side."""
    cage: Layer
    """The inside of both."""
    above: Layer
    """Above the diaphragm."""
    heart: Layer


def draw(rng: np.random.Generator, size: int, positive: bool, anatomy: Anatomy | None = None) -> Phantom:
    """Draw one X-ray.

    Args:
        rng: Source of everything random; equal states give equal images.
        size: Rows and columns, at least 64.
        positive: Whether there is a pneumothorax; if so, the mask is not empty.
        anatomy: The patient; None for a new one.
    """
    anatomy = draw_anatomy(rng) if anatomy is None else anatomy
    view: View = "AP" if rng.random() < AP_FRACTION else "PA"
    c = _position(rng, size, view)
    regions = _draw_regions(c, anatomy)
    side = int(rng.choice(SIDES))
    found = {side: draw_pneumothorax(rng, anatomy, side)} if positive else {}
    tissue = (
        _soft_tissue(c, anatomy, regions) + _bones(rng, c, anatomy, regions) + _tubes(rng, c) + _haze(rng, c, regions)
    )
    for lung in SIDES:
        tissue += _lung(rng, c, anatomy, regions, lung, found.get(lung))
    mask = _gap(c, regions, side, found[side]) > 0.5 if positive else np.zeros((size, size), np.bool_)
    return Phantom(_expose(rng, c, tissue, view), mask.astype(np.uint8), view)


def _position(rng: np.random.Generator, size: int, view: View) -> Canvas:
    """Draw the patient's position in front of the detector; in AP views the chest is magnified."""
    return Canvas(
        size,
        angle_deg=rng.normal(0, 2.0),
        scale=rng.uniform(0.95, 1.06) * (1.04 if view == "AP" else 1.0),
        shift=(rng.normal(0, 0.012), rng.uniform(-0.02, 0.03)),
    )


def _draw_regions(c: Canvas, a: Anatomy) -> _Regions:
    walls = {side: c.fill(shapes.chest_wall(a, side)) for side in SIDES}
    return _Regions(
        body=c.fill(shapes.torso(a)),
        walls=walls,
        cage=np.maximum(*walls.values()),
        above=1 - c.fill(*(shapes.below_diaphragm(a, side) for side in SIDES)),
        heart=c.blur(c.fill(shapes.heart(a)), 0.007),
    )


def _soft_tissue(c: Canvas, a: Anatomy, regions: _Regions) -> Layer:
    """Return the thickness of everything except bones, as if the lungs were soft tissue."""
    trunk = c.blur(regions.body, 0.05)
    tissue = 0.30 * c.blur(regions.body, 0.012) + (0.32 + 0.12 * a.flesh) * trunk
    spine = c.fill(shapes.mediastinum(a))
    below, middle = 1 - regions.above, np.maximum(regions.cage, spine)
    tissue += 0.40 * c.blur(below * middle, 0.004) + 0.32 * c.blur(below * (1 - middle), 0.02) * trunk
    tissue += np.maximum(0.30 * c.blur(spine, 0.012), 0.36 * regions.heart) * (1 - 0.5 * below)
    if a.breasts:
        shadows = c.fill(*(shapes.breast(a, side) for side in SIDES))
        tissue += 0.10 * a.breasts * c.blur(shadows, 0.014) * trunk
    if a.stomach:
        tissue -= 0.30 * c.blur(c.fill(shapes.stomach_bubble(a)), 0.006)
    return tissue


def _lung(
    rng: np.random.Generator, c: Canvas, a: Anatomy, regions: _Regions, side: int, found: Pneumothorax | None
) -> Layer:
    """Return what one lung adds to the thickness of tissue; its air subtracts from it."""
    inside = regions.walls[side] * regions.above
    air = c.blur(inside, 0.003) * (0.36 + 0.12 * c.blur(inside, 0.05)) * (1 - 0.45 * regions.heart)
    vessels = c.blur(c.stroke(*vessel_tree(rng, side)), 0.0018)
    root = c.blur(c.fill(shapes.hilum(side)), 0.03)
    tissue = a.vessels * (0.17 * vessels + 0.10 * root) * (1 - 0.6 * regions.heart)
    if found is None:
        return cast(Layer, tissue * inside - air)
    lung = c.fill(found.pleura)
    pleura = c.blur(c.stroke(Stroke(found.edge[None], 0.004, 1.0)), 0.0015)
    gap = c.blur(_gap(c, regions, side, found), 0.002)
    # A collapsed lung is denser.
    tissue = (tissue + 0.6 * found.depth) * lung + found.line * pleura
    return cast(Layer, tissue * inside - air - found.darkness * gap)


def _gap(c: Canvas, regions: _Regions, side: int, found: Pneumothorax) -> Layer:
    """Return each pixel's coverage by a pneumothorax."""
    # The difference of two coverages is zero where the outlines coincide; wall * (1 - lung) would leave a rim.
    return cast(Layer, np.clip(regions.walls[side] - c.fill(found.pleura), 0, 1) * regions.above)


def _bones(rng: np.random.Generator, c: Canvas, a: Anatomy, regions: _Regions) -> Layer:
    back = np.concatenate([shapes.posterior_ribs(a, side) for side in SIDES])
    front = np.concatenate([shapes.anterior_ribs(a, side) for side in SIDES])
    bones = 0.11 * (_bone(c, back, 0.025) + 0.6 * _bone(c, front, 0.028)) * c.blur(regions.cage, 0.004)
    # Where ribs curve to the front along the wall, the beam passes along them: a white line around the lung.
    bones += 0.25 * np.clip(c.blur(regions.cage, 0.009) - c.blur(regions.cage, 0.002), 0, None)
    rise = rng.uniform(0.0, 0.07)
    clavicles = np.stack([shapes.clavicle(a, side, rise + rng.normal(0, 0.006)) for side in SIDES])
    bones += 0.18 * _bone(c, clavicles, 0.026)
    bones += 0.06 * c.blur(c.fill(*(shapes.scapula(a, side) for side in SIDES)), 0.004)
    arms = np.stack([shapes.humerus(a, side) for side in SIDES])
    bones += 0.16 * c.blur(c.stroke(Stroke(arms, 0.055, 1.0), Stroke(arms[:, :4], 0.08, 1.0)), 0.005)
    return cast(Layer, a.bone * (bones + _spine(rng, c)))


def _bone(c: Canvas, lines: Points, width: float) -> Layer:
    """Draw bones along lines, brighter at their edges, where the beam passes more cortical bone."""
    return c.blur(c.stroke(Stroke(lines, width, 1.0), Stroke(lines, width - 0.009, 0.6)), 0.0022)


def _spine(rng: np.random.Generator, c: Canvas) -> Layer:
    """Return the vertebrae, and the air of the trachea in front of them."""
    heights = np.arange(-0.1, 1.15, 0.052) + rng.uniform(0, 0.05)
    bodies = np.array([[(-0.034, y), (0.034, y)] for y in heights])
    trachea = np.array([[(0.0, -0.15), (0.003, 0.32)]])
    spine = 0.11 * c.blur(c.stroke(Stroke(bodies, 0.040, 1.0)), 0.004)
    return spine - 0.12 * c.blur(c.stroke(Stroke(trachea, 0.034, 1.0)), 0.006)


def _tubes(rng: np.random.Generator, c: Canvas) -> Layer:
    """Return the lines and tubes, on some images; they do not depend on the pneumothorax."""
    strokes = []
    for _ in range(rng.poisson(0.4)):
        start = np.array([rng.uniform(-0.45, 0.45), rng.choice([-0.05, 1.05])])
        end = np.array([rng.uniform(-0.2, 0.2), rng.uniform(0.3, 0.6)])
        middle = 0.5 * (start + end) + rng.normal(0, 0.08, 2)
        strokes.append(Stroke(open_curve(np.array([start, middle, end]), 30)[None], rng.uniform(0.004, 0.009), 1.0))
    return 0.16 * c.blur(c.stroke(*strokes), 0.001)


def _haze(rng: np.random.Generator, c: Canvas, regions: _Regions) -> Layer:
    """Return slow variations of density."""
    coarse = rng.normal(0, 0.035, (5, 5)).astype(np.float32)
    return cast(Layer, cv2.resize(coarse, (c.size, c.size), interpolation=cv2.INTER_CUBIC) * regions.body)


def _expose(rng: np.random.Generator, c: Canvas, tissue: Layer, view: View) -> npt.NDArray[np.uint8]:
    """Convert thickness of tissue to gray levels, with quantum noise and the markers on the image."""
    if view == "AP":
        tissue = 0.9 * c.blur(tissue, 0.0025) + 0.06
    gamma, dose = rng.uniform(1.0, 1.5), rng.uniform(1.36, 1.84)
    light = 1 - np.exp(-dose * np.clip(tissue, 0, None) ** gamma)
    grain = cv2.GaussianBlur(rng.standard_normal((c.size, c.size), dtype=np.float32), (0, 0), 0.6)
    gray = 250 * light + rng.uniform(1.7, 6.0) * grain * (0.4 + light)
    image: npt.NDArray[np.uint8] = np.clip(np.rint(gray), 0, 255).astype(np.uint8)
    _draw_markers(rng, image)
    return image


def _draw_markers(rng: np.random.Generator, image: npt.NDArray[np.uint8]) -> None:
    """Draw the side marker in a corner and a black bar along an edge that was not exposed, on some images."""
    size = len(image)
    if rng.random() < 0.7:
        at = int(size * rng.uniform(0.86, 0.93)), int(size * rng.uniform(0.06, 0.14))
        cv2.putText(image, "L", at, cv2.FONT_HERSHEY_SIMPLEX, size / 600, 245, max(1, size // 256), cv2.LINE_8)
    if rng.random() < 0.3:
        turned = np.rot90(image, int(rng.integers(4)))
        turned[: int(size * rng.uniform(0.01, 0.04))] = int(rng.integers(12))
