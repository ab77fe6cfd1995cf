import numpy as np
import pytest

from pneumo.synthetic.canvas import Canvas, Stroke, closed_curve, open_curve


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
