"""The vessels of a lung: a tree that spreads from the hilum and fades towards the chest wall."""

import numpy as np
import numpy.typing as npt

from pneumo.synthetic.canvas import Points, Stroke

HILUM = (0.095, 0.45)
"""Root of the lung (u, y), from which the vessels spread and towards which a lung collapses."""

Angles = npt.NDArray[np.float64]
"""Radians, 0 away from the midline, pi/2 downwards."""


def vessel_tree(rng: np.random.Generator, side: int) -> list[Stroke]:
    """Draw the vessels of one lung, thinnest first."""
    count = 13
    angles = np.deg2rad(np.linspace(-84, 86, count) + rng.normal(0, 5, count))
    starts = np.array(HILUM) + rng.normal(0, 0.018, (count, 2)) - (0.025, 0)
    trunks, trunk_angles = _grow(rng, starts, angles, rng.uniform(0.18, 0.30, count), 12)
    twigs, twig_angles = _branch(rng, trunks, trunk_angles, children=6, length=0.10)
    tips, _ = _branch(rng, twigs, twig_angles, children=3, length=0.055)
    levels = [
        (tips, 0.0022, 0.35),
        (twigs[:, 3:], 0.0028, 0.45),
        (twigs[:, :4], 0.0040, 0.50),
        (trunks[:, 8:], 0.0035, 0.50),
        (trunks[:, 4:9], 0.0055, 0.65),
        (trunks[:, :5], 0.0085, 0.90),
    ]
    return [Stroke(lines * (side, 1), width, value) for lines, width, value in levels]


def _grow(
    rng: np.random.Generator, starts: Points, angles: Angles, lengths: npt.NDArray[np.float64], steps: int
) -> tuple[Points, Angles]:
    """Grow one slightly bent line from each start; return (n, steps, 2) points and (n, steps) directions."""
    bend = rng.normal(0, 0.3, (len(starts), 1))
    turn = angles[:, None] + bend * np.linspace(0, 1, steps) + rng.normal(0, 0.06, (len(starts), steps))
    step = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * (lengths[:, None, None] / steps)
    return starts[:, None] + np.cumsum(step, axis=1), turn


def _branch(
    rng: np.random.Generator, lines: Points, directions: Angles, *, children: int, length: float
) -> tuple[Points, Angles]:
    """Grow side branches of about ``length`` from each line; return their points and directions as ``_grow`` does."""
    parents, steps, _ = lines.shape
    count = parents * children
    at = rng.integers(steps // 4, steps, (parents, children))
    starts = np.take_along_axis(lines, at[:, :, None], axis=1).reshape(count, 2)
    fork = rng.choice([-1, 1], count) * rng.uniform(0.3, 0.8, count)
    angles = np.take_along_axis(directions, at, axis=1).ravel() + fork
    return _grow(rng, starts, angles, length * rng.uniform(0.6, 1.2, count), 7)
