import cv2
import numpy as np
import pytest

from pneumo.synthetic.anatomy import LEFT, RIGHT, draw_anatomy
from pneumo.synthetic.canvas import Canvas, Stroke, closed_curve, open_curve
from pneumo.synthetic.phantom import Phantom, draw
from pneumo.synthetic.pneumothorax import draw_pneumothorax

SIZE = 256


@pytest.fixture(scope="module")
def positives() -> list[Phantom]:
    return [draw(np.random.default_rng([1, i]), SIZE, True) for i in range(60)]


@pytest.fixture(scope="module")
def negatives() -> list[Phantom]:
    return [draw(np.random.default_rng([2, i]), SIZE, False) for i in range(20)]


def test_equal_seeds_draw_equal_images() -> None:
    first, second, other = (draw(np.random.default_rng(seed), 96, True) for seed in (5, 5, 6))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.mask, second.mask)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("size", [64, 100, 256])
@pytest.mark.parametrize("positive", [True, False])
def test_image_and_mask_have_the_size_asked_for(size: int, positive: bool) -> None:
    for seed in range(8):
        phantom = draw(np.random.default_rng(seed), size, positive)
        assert phantom.image.shape == phantom.mask.shape == (size, size)
        assert phantom.image.dtype == phantom.mask.dtype == np.uint8
        assert set(np.unique(phantom.mask)) <= {0, 1}
        assert bool(phantom.mask.any()) is positive
        assert phantom.view in {"PA", "AP"}


def test_mask_areas_are_like_the_competition(positives: list[Phantom]) -> None:
    share = np.array([phantom.mask.mean() for phantom in positives])
    assert 0.008 < np.median(share) < 0.02
    assert share.min() > 0.001
    assert share.max() < 0.08
    assert share.max() > 3 * np.median(share[share < np.median(share)])


def test_both_sides_get_a_pneumothorax(positives: list[Phantom]) -> None:
    on_the_left = [phantom.mask[:, : SIZE // 2].sum() > phantom.mask[:, SIZE // 2 :].sum() for phantom in positives]
    assert 15 < sum(on_the_left) < 45


def test_brightness_is_that_of_a_chest(negatives: list[Phantom]) -> None:
    """Air is black, lungs are dark gray, and the heart and the abdomen are bright."""
    image = np.mean([phantom.image for phantom in negatives], axis=0)
    corner, spine, abdomen = image[10:20, 10:40].mean(), image[120:150, 122:134].mean(), image[225:245, 90:110].mean()
    lungs = image[90:150, 50:80].mean(), image[90:150, 176:206].mean()
    assert corner < min(lungs) - 20
    assert max(lungs) < min(spine, abdomen) - 60
    assert abs(lungs[0] - lungs[1]) < 15
    assert 150 < spine < 250


def test_gap_is_darker_and_smoother_than_the_lung_beside_it(positives: list[Phantom]) -> None:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (21, 21))
    darker = []
    for image, mask, _ in positives:
        inside = cv2.erode(mask, np.ones((3, 3), np.uint8))
        if inside.sum() < 50:
            continue
        near = cv2.dilate(mask, disc) - cv2.dilate(mask, np.ones((7, 7), np.uint8))
        # On the lung's side of the gap, which is the side of the picture's middle.
        rows, columns = np.nonzero(near)
        middle = np.nonzero(mask)[1].mean()
        medial = (columns > middle) if middle < SIZE / 2 else (columns < middle)
        lung = image[rows[medial], columns[medial]]
        darker.append(np.median(lung) - np.median(image[inside > 0]))
    assert len(darker) > 30
    assert np.median(darker) > 8


def test_the_anatomy_of_a_patient_is_the_same_at_every_visit() -> None:
    patient = draw_anatomy(np.random.default_rng(0))
    visits = [draw(np.random.default_rng(seed), 128, False, patient).image for seed in range(8)]
    other_patients = [draw(np.random.default_rng(seed), 128, False).image for seed in range(8)]
    assert not np.array_equal(visits[0], visits[1])
    assert np.std(visits, axis=0).mean() < np.std(other_patients, axis=0).mean()


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


def test_fill_covers_the_area_of_the_shape() -> None:
    square = np.array([(-0.25, 0.25), (0.25, 0.25), (0.25, 0.75), (-0.25, 0.75)])
    covered = Canvas(100).fill(square)
    # OpenCV's polygons include their border: up to one more pixel at each of the 200 pixels around.
    assert 2500 <= covered.sum() <= 2500 + 200
    assert covered[50, 50] == 1
    assert covered[10, 10] == 0
    assert 625 <= Canvas(100, scale=0.5).fill(square).sum() <= 625 + 100


def test_canvas_turns_clockwise_and_shifts() -> None:
    dot = np.array([(0.28, 0.48), (0.32, 0.48), (0.32, 0.52), (0.28, 0.52)])
    for canvas, row, column in (
        (Canvas(100), 50, 80),
        (Canvas(100, angle_deg=90), 80, 50),
        (Canvas(100, shift=(0.1, -0.2)), 30, 90),
    ):
        rows, columns = np.nonzero(canvas.fill(dot) > 0.5)
        assert (rows.mean(), columns.mean()) == pytest.approx((row - 0.5, column - 0.5), abs=0.6)


def test_a_line_thinner_than_a_pixel_is_fainter() -> None:
    line = np.array([[(-0.4, 0.5), (0.4, 0.5)]])
    wide, thin = (Canvas(100).stroke(Stroke(line, width, 1.0)) for width in (0.01, 0.005))
    assert thin.sum() == pytest.approx(wide.sum() / 2, rel=0.1)


def test_blur_keeps_the_mean_whatever_the_width() -> None:
    layer = Canvas(120).fill(np.array([(-0.1, 0.4), (0.1, 0.4), (0.1, 0.6), (-0.1, 0.6)]))
    for sigma in (0.005, 0.02, 0.05, 0.08):
        soft = Canvas(120).blur(layer, sigma)
        assert soft.shape == layer.shape
        assert soft.sum() == pytest.approx(layer.sum(), rel=0.03)
        assert soft.max() <= layer.max()


def test_curves_pass_through_their_knots() -> None:
    knots = np.array([(0.0, 0.0), (0.2, 0.1), (0.3, 0.4), (0.1, 0.5)])
    assert open_curve(knots, 10)[[0, 3, 6, 9]] == pytest.approx(knots)
    assert closed_curve(knots, 8)[::2] == pytest.approx(knots)
    assert open_curve(np.stack([knots, -knots]), 10)[1] == pytest.approx(-open_curve(knots, 10))
