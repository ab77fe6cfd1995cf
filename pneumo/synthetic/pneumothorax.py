"""A pneumothorax: the lung's retraction from the chest wall, which leaves a crescent of air."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.synthetic.anatomy import Anatomy, chest_wall
from pneumo.synthetic.canvas import Points
from pneumo.synthetic.vessels import HILUM


@dataclass(frozen=True, kw_only=True)
class Pneumothorax:
    """One lung that has left the chest wall."""

    pleura: Points
    """Outline of the retracted lung, closed; it is the chest wall's where the two touch."""
    edge: Points
    """The part of it that has left the wall: the pleural line."""
    depth: float
    """Greatest distance between the two, in unit coordinates."""
    darkness: float
    """Thickness of tissue that the gap lacks, compared with lung."""
    line: float
    """Thickness of the pleural line's tissue."""


@dataclass(frozen=True)
class _Place:
    """Where gaps are: their share, and centre and half-width in degrees about the hilum (0 is up, 90 lateral)."""

    share: float
    centre_deg: float
    reach_deg: float


_PLACES = (
    _Place(0.40, 22, 52),  # apical
    _Place(0.35, 55, 75),  # apicolateral
    _Place(0.15, 98, 45),  # lateral
    _Place(0.10, 85, 105),  # all along the wall
)

_DEEPEST = 0.0013
"""Greatest depth for each degree of reach: a lung that falls back far does so along much of the wall."""


def draw_pneumothorax(rng: np.random.Generator, a: Anatomy, side: int) -> Pneumothorax:
    """Draw a gap along the chest wall, most often at the apex."""
    place = _PLACES[rng.choice(len(_PLACES), p=[place.share for place in _PLACES])]
    centre = place.centre_deg + rng.normal(0, 7)
    reach = place.reach_deg * rng.uniform(0.8, 1.15)
    # Log-normal like the competition's areas: many small, few large.
    depth = float(np.clip(0.040 * np.exp(0.45 * rng.standard_normal()), 0.02, _DEEPEST * reach))
    wall = chest_wall(a, side)
    inward = np.array(HILUM) * (side, 1) - wall
    angle = np.rad2deg(np.arctan2(-side * inward[:, 0], inward[:, 1]))
    gap = depth * np.clip(1 - ((angle - centre) / reach) ** 2, 0, None)
    gap *= 1 + 0.08 * np.sin(np.deg2rad(angle) * rng.uniform(2, 5) + rng.uniform(0, 6))
    pleura = wall + inward / np.linalg.norm(inward, axis=1, keepdims=True) * gap[:, None]
    return Pneumothorax(
        pleura=pleura,
        edge=_open_part(pleura, gap > 0.12 * depth),
        depth=depth,
        darkness=rng.uniform(0.08, 0.14),
        line=rng.uniform(0.05, 0.13),
    )


def _open_part(ring: Points, wanted: npt.NDArray[np.bool_]) -> Points:
    """Return the wanted points of a closed outline as one open line, which starts after an unwanted one."""
    first = int(np.argmin(wanted))
    line: Points = np.roll(ring, -first, axis=0)[np.roll(wanted, -first)]
    return line
