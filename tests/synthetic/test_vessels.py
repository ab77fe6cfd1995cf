import numpy as np
import pytest

from pneumo.synthetic.anatomy import LEFT, RIGHT
from pneumo.synthetic.vessels import HILUM, vessel_tree


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_the_vessels_spread_from_the_hilum_of_their_side(side: int) -> None:
    strokes = vessel_tree(np.random.default_rng(0), side)
    trunks = strokes[-1].lines
    assert np.abs(trunks[:, 0] - np.array(HILUM) * (side, 1)).max() < 0.12
    points = np.concatenate([stroke.lines.reshape(-1, 2) for stroke in strokes])
    assert (np.sign(points[:, 0]) == side).mean() > 0.8


def test_vessels_become_thinner_and_fainter_towards_the_chest_wall() -> None:
    strokes = vessel_tree(np.random.default_rng(0), LEFT)
    tips, trunks = strokes[0], strokes[-1]
    assert tips.width < trunks.width
    assert tips.value < trunks.value
    distance = [np.linalg.norm(stroke.lines - HILUM, axis=-1).mean() for stroke in (tips, trunks)]
    assert distance[0] > distance[1]


def test_the_right_tree_mirrors_the_left_one_of_the_same_seed() -> None:
    left, right = (vessel_tree(np.random.default_rng(5), side) for side in (LEFT, RIGHT))
    for one, other in zip(left, right, strict=True):
        assert np.array_equal(one.lines * (-1, 1), other.lines)
