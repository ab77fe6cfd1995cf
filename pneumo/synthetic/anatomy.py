"""The shapes of a synthetic chest: outlines and bones in unit coordinates (see ``canvas``).

One half of the chest is described in (u, y), with u the distance from the midline. ``side`` is -1 for the patient's
right side, which is on the left of the image, and +1 for the left side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pneumo.synthetic.canvas import Points, closed_curve, open_curve

RIGHT, LEFT = -1, 1
SIDES = (RIGHT, LEFT)

WALL_POINTS = 160
"""Points of one chest wall's outline."""

Knots = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What two X-rays of one patient have in common; lengths in unit coordinates."""

    cage: float
    """Largest distance of the inner chest wall from the midline."""
    apex: float
    """Height y of the apices of the lungs."""
    dome: float
    """Height y of the dome of the right hemidiaphragm; the left one is lower."""
    heart: float
    """Distance of the heart's left border from the midline."""
    rib_pitch: float
    """Vertical distance between two posterior ribs."""
    rib_fall: float
    """How far a lower posterior rib descends between the spine and the chest wall."""
    bone: float
    """Density of the bones, 1 for an average adult."""
    flesh: float
    """Thickness of the soft tissue around the chest, 0 thin to 1 thick."""
    breasts: float
    """Density of the breast shadows, 0 for none."""
    vessels: float
    """Density of the pulmonary vessels, 1 for average."""
    stomach: float
    """Half-width of the gas bubble below the left dome, 0 for none."""


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a random patient."""
    return Anatomy(
        cage=rng.uniform(0.355, 0.405),
        apex=rng.uniform(0.115, 0.165),
        dome=rng.uniform(0.67, 0.76),
        heart=rng.uniform(0.155, 0.225),
        rib_pitch=rng.uniform(0.062, 0.070),
        rib_fall=rng.uniform(0.09, 0.15),
        bone=rng.uniform(0.8, 1.3),
        flesh=rng.uniform(0.0, 1.0),
        breasts=rng.uniform(0.4, 1.0) if rng.random() < 0.4 else 0.0,
        vessels=rng.uniform(0.8, 1.2),
        stomach=rng.uniform(0.04, 0.075) if rng.random() < 0.5 else 0.0,
    )


def half(side: int, knots: Knots) -> Points:
    """Convert (u, y) knots of one half of the chest to (x, y) points."""
    return np.array(knots) * (side, 1)


def torso(a: Anatomy) -> Points:
    """Return the outline of neck, shoulders, upper arms and trunk, which crosses the upper and lower border."""
    wide = a.cage + 0.045 + 0.05 * a.flesh
    neck = 0.085 + 0.03 * a.flesh
    knots = [
        (neck, -0.15),
        (neck + 0.015, a.apex - 0.125),
        (neck + 0.09, a.apex - 0.065),
        (0.36, a.apex - 0.04),
        (0.47, a.apex + 0.02),
        (0.55, 0.28),
        (0.57, 0.42),
        (wide + 0.05, 0.50),
        (wide + 0.01, 0.60),
        (wide, 0.80),
        (wide + 0.02, 1.15),
    ]
    right = open_curve(half(LEFT, knots), 60)
    return np.vstack([right, right[::-1] * (-1, 1)])


def chest_wall(a: Anatomy, side: int) -> Points:
    """Return the closed outline of the inside of one half of the rib cage, down to the abdomen."""
    w, top = a.cage, a.apex
    knots = [
        (0.125, top),
        (0.200, top + 0.028),
        (0.262, top + 0.095),
        (w - 0.060, top + 0.195),
        (w - 0.022, 0.47),
        (w - 0.002, 0.62),
        (w - 0.002, 0.80),
        (w - 0.020, 1.00),
        (w - 0.050, 1.20),
        (0.180, 1.30),
        (0.050, 1.15),
        (0.045, 0.80),
        (0.045, 0.50),
        (0.045, 0.32),
        (0.062, top + 0.055),
    ]
    return closed_curve(half(side, knots), WALL_POINTS)


def wall_at(a: Anatomy, y: float) -> float:
    """Return the chest wall's distance from the midline at height y."""
    heights = (a.apex, a.apex + 0.028, a.apex + 0.095, a.apex + 0.195, 0.47, 0.62, 0.9)
    return float(np.interp(y, heights, (0.13, 0.20, 0.262, a.cage - 0.06, a.cage - 0.022, a.cage, a.cage)))


def dome_height(a: Anatomy, side: int) -> float:
    """Return the height y of one dome of the diaphragm."""
    return a.dome + (0.028 if side == LEFT else 0.0)


def below_diaphragm(a: Anatomy, side: int) -> Points:
    """Return the outline of what is below one dome of the diaphragm, down to the lower border of the image."""
    u = np.linspace(0.0, a.cage + 0.16, 40)
    lateral = np.clip((u - 0.17) / (a.cage - 0.17), 0, None)
    medial = np.clip((0.17 - u) / 0.17, 0, None)
    y = dome_height(a, side) + np.minimum(0.135 * lateral**2.6, 0.25) + 0.045 * medial**2
    dome = np.column_stack([side * u, y])
    return np.vstack([dome, [(side * (a.cage + 0.3), 1.3), (0.0, 1.3)]])


def heart(a: Anatomy) -> Points:
    """Return the outline of the heart, on the diaphragm and with the apex to the patient's left."""
    base = a.dome + 0.05
    knots = [
        (0.03, 0.42),
        (0.075, 0.46),
        (a.heart * 0.72, 0.55),
        (a.heart, base - 0.07),
        (a.heart - 0.02, base + 0.02),
        (0.02, base + 0.05),
        (-0.085, base),
        (-0.105, base - 0.09),
        (-0.080, 0.53),
        (-0.02, 0.45),
    ]
    return closed_curve(np.array(knots), 80)


def mediastinum(a: Anatomy) -> Points:
    """Return the outline of the great vessels and the soft tissue of the spine, with the aortic knob on the left."""
    knots = [
        (0.045, -0.15),
        (0.050, a.apex),
        (0.058, 0.26),
        (0.078, 0.315),
        (0.062, 0.37),
        (0.075, 0.43),
        (0.06, 0.60),
        (0.06, 1.15),
        (-0.06, 1.15),
        (-0.06, 0.60),
        (-0.068, 0.43),
        (-0.058, 0.30),
        (-0.052, a.apex),
        (-0.045, -0.15),
    ]
    return closed_curve(np.array(knots), 90)


def posterior_ribs(a: Anatomy, side: int) -> Points:
    """Return the center lines (ribs, n, 2) of the posterior ribs, from the spine down to the chest wall."""
    knots = []
    for i in range(11):
        y = a.apex + 0.02 + a.rib_pitch * i
        fall = a.rib_fall * (0.35 + 0.10 * i)
        u = wall_at(a, y + fall) + 0.004
        knots.append([(0.03, y + 0.014), (0.32 * u, y - 0.006), (0.72 * u, y + 0.33 * fall), (u, y + fall)])
    return open_curve(np.array(knots) * (side, 1), 24)


def anterior_ribs(a: Anatomy, side: int) -> Points:
    """Return the center lines (ribs, n, 2) of the anterior ribs, from the chest wall down towards the sternum."""
    knots = []
    for i in range(7):
        y = a.apex + 0.075 + 1.2 * a.rib_pitch * i
        u = wall_at(a, y) + 0.004
        end = max(0.13, 0.5 * u)
        knots.append([(u, y), (0.93 * u, y + 0.05), (0.5 * (u + end), y + 0.11), (end, y + 0.125)])
    return open_curve(np.array(knots) * (side, 1), 20)


def clavicle(a: Anatomy, side: int, rise: float) -> Points:
    """Return the center line of a clavicle, whose lateral end is ``rise`` higher than the medial one."""
    y = a.apex + 0.085
    knots = [(0.035, y + 0.01), (0.12, y - 0.01), (0.23, y - 0.4 * rise), (0.33, y - rise), (0.42, y - 1.15 * rise)]
    return open_curve(half(side, knots), 30)


def scapula(a: Anatomy, side: int) -> Points:
    """Return the outline of a scapula, whose medial edge is over the upper lung."""
    top = a.apex
    knots = [
        (0.37, top + 0.04),
        (0.44, top + 0.09),
        (0.43, top + 0.20),
        (0.375, top + 0.37),
        (0.335, top + 0.34),
        (0.31, top + 0.17),
        (0.325, top + 0.06),
    ]
    return closed_curve(half(side, knots), 60)


def humerus(a: Anatomy, side: int) -> Points:
    """Return the center line of a humerus."""
    return open_curve(half(side, [(0.455, a.apex + 0.075), (0.49, a.apex + 0.16), (0.56, 0.55)]), 12)


def breast(a: Anatomy, side: int) -> Points:
    """Return the outline of the shadow of a breast over the lower lung."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = np.column_stack([0.235 + 0.165 * np.cos(turn), 0.63 + 0.155 * np.sin(turn)])
    return outline * (side, 1)


def stomach_bubble(a: Anatomy) -> Points:
    """Return the outline of the gas below the left dome; for ``a.stomach`` above 0."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    high = dome_height(a, LEFT) + 0.025 + 0.55 * a.stomach
    return np.column_stack([0.15 + a.stomach * np.cos(turn), high + 0.5 * a.stomach * np.sin(turn)])


def hilum(side: int) -> Points:
    """Return the outline of the hilum, where the great vessels enter a lung."""
    return half(side, [(0.05, 0.39), (0.09, 0.41), (0.11, 0.45), (0.09, 0.50), (0.05, 0.53)])
