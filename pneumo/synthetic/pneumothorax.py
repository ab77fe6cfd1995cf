"""A pneumothorax: the lung retracts from the chest wall and leaves a crescent of air."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.synthetic.anatomy import Anatomy, chest_wall
from pneumo.synthetic.canvas import Points
from pneumo.synthetic.vessels import HILUM


@dataclass(frozen=True, kw_only=True)
class Pneumothorax:
    """One lung that has retracted from the chest wall."""

    pleura: Points
    """Closed outline of the retracted lung; where it touches the chest wall the two coincide."""
    edge: Points
    """The part of the outline away from the wall: the pleural line."""
    depth: float
    """Largest distance between lung and wall, in unit coordinates."""
    darkness: float
    """Thickness of tissue that the gap has less than lung."""
    line: float
    """Thickness of tissue of the pleural line."""


@dataclass(frozen=True)
class _Location:
    """Where a gap is: center and half-width in degrees about the hilum (0 is up, 90 lateral), and their fraction."""

    probability: float
    center_deg: float
    reach_deg: float


_LOCATIONS = (
    _Location(0.40, 22, 52),  # apical
    _Location(0.35, 55, 75),  # apicolateral
    _Location(0.15, 98, 45),  # lateral
    _Location(0.10, 85, 105),  # all along the wall
)

_MAX_DEPTH_PER_DEGREE = 0.0013
"""Largest depth for each degree of reach: a deep gap also extends along much of the wall."""


def draw_pneumothorax(rng: np.random.Generator, a: Anatomy, side: int) -> Pneumothorax:
    """Draw a gap along the chest wall, most often at the apex."""
    location = _LOCATIONS[rng.choice(len(_LOCATIONS), p=[location.probability for location in _LOCATIONS])]
    center = location.center_deg + rng.normal(0, 7)
    reach = location.reach_deg * rng.uniform(0.8, 1.15)
    # Log-normal like the mask areas of the competition: many small, few large.
    depth = float(np.clip(0.040 * np.exp(0.45 * rng.standard_normal()), 0.02, _MAX_DEPTH_PER_DEGREE * reach))
    wall = chest_wall(a, side)
    inward = np.array(HILUM) * (side, 1) - wall
    angle = np.rad2deg(np.arctan2(-side * inward[:, 0], inward[:, 1]))
    gap = depth * np.clip(1 - ((angle - center) / reach) ** 2, 0, None)
    gap *= 1 + 0.08 * np.sin(np.deg2rad(angle) * rng.uniform(2, 5) + rng.uniform(0, 6))
    pleura = wall + inward / np.linalg.norm(inward, axis=1, keepdims=True) * gap[:, None]
    return Pneumothorax(
        pleura=pleura,
        edge=_open_part(pleura, gap > 0.12 * depth),
        depth=depth,
        darkness=rng.uniform(0.08, 0.14),
        line=rng.uniform(0.05, 0.13),
    )


def _open_part(ring: Points, selected: npt.NDArray[np.bool_]) -> Points:
    """Return the selected points of a closed outline as one open line, which starts after one that is not."""
    first = int(np.argmin(selected))
    line: Points = np.roll(ring, -first, axis=0)[np.roll(selected, -first)]
    return line
