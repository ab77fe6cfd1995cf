import numpy as np
import pytest

from pneumo.synthetic.anatomy import LEFT, RIGHT, draw_anatomy
from pneumo.synthetic.canvas import Canvas
from pneumo.synthetic.pneumothorax import draw_pneumothorax

SIZE = 256


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_the_pleura_is_inside_the_chest_wall(side: int) -> None:
    canvas = Canvas(SIZE)
    rng = np.random.default_rng(3)
    for _ in range(10):
        anatomy = draw_anatomy(rng)
        from_wall = draw_pneumothorax(rng, anatomy, side)
        assert (np.sign(from_wall.edge[:, 0]) == side).all()
        steps = np.linalg.norm(np.diff(from_wall.edge, axis=0), axis=1)
        assert steps.max() < 0.1, "the pleural line is one line, without a jump across the lung"
        assert canvas.fill(from_wall.pleura).sum() > 0.1 * SIZE**2
