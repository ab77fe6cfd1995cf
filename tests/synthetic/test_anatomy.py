import numpy as np
import pytest

from pneumo.synthetic import anatomy as shapes
from pneumo.synthetic.anatomy import LEFT, RIGHT, SIDES, Anatomy, draw_anatomy
from pneumo.synthetic.canvas import Canvas

PATIENTS = [draw_anatomy(np.random.default_rng(seed)) for seed in range(20)]


def coverage(outline: np.ndarray) -> np.ndarray:
    return Canvas(200).fill(outline) > 0.5


def test_equal_seeds_draw_equal_patients() -> None:
    assert draw_anatomy(np.random.default_rng(3)) == PATIENTS[3]
    assert len(set(PATIENTS)) == len(PATIENTS)


def test_some_patients_have_breast_shadows_and_some_a_gastric_bubble() -> None:
    for values in ([a.breasts for a in PATIENTS], [a.stomach for a in PATIENTS]):
        assert 0 < np.count_nonzero(values) < len(values)


@pytest.mark.parametrize("patient", PATIENTS[:5], ids=range(5))
def test_lungs_and_heart_are_inside_the_body(patient: Anatomy) -> None:
    body = coverage(shapes.torso(patient))
    for outline in (shapes.heart(patient), *(shapes.chest_wall(patient, side) for side in SIDES)):
        inside = coverage(outline)
        assert inside.any()
        assert (inside & ~body).sum() < 0.01 * inside.sum()


@pytest.mark.parametrize("patient", PATIENTS[:5], ids=range(5))
def test_the_sides_are_mirrored_except_for_the_diaphragm(patient: Anatomy) -> None:
    right, left = (shapes.chest_wall(patient, side) for side in (RIGHT, LEFT))
    assert np.array_equal(right, left * (-1, 1))
    assert (right[:, 0] < 0).all()
    assert shapes.dome_height(patient, LEFT) > shapes.dome_height(patient, RIGHT)


def test_ribs_reach_the_chest_wall() -> None:
    for patient in PATIENTS[:5]:
        for side in SIDES:
            ribs = shapes.posterior_ribs(patient, side)
            assert ribs.shape == (11, 24, 2)
            lateral = ribs[:, -1]
            walls = [shapes.wall_at(patient, y) for y in lateral[:, 1]]
            assert np.abs(lateral[:, 0] * side - walls).max() < 0.01
