"""Windows at their edges; ``test_dicom_rendering.py`` compares all functions with pydicom's."""

import numpy as np
import pytest
import reference_files as reference

from pneumo.dicom import windows
from pneumo.dicom.windows import Window

EDGES = {
    "linear": (Window(128, 256, "LINEAR"), [0, 255]),
    "exact": (Window(128, 256, "LINEAR_EXACT"), [0, 256]),
}


@pytest.mark.parametrize(("window", "ends"), EDGES.values(), ids=EDGES)
def test_the_ends_of_a_window_are_black_and_white(window: Window, ends: list[float]) -> None:
    assert windows.apply(window, np.array(ends, float)).tolist() == [0, 1]


def test_a_linear_window_of_one_is_a_step() -> None:
    assert windows.apply(Window(100, 1, "LINEAR"), np.array([99.0, 99.5, 100.0])).tolist() == [0, 0, 1]


def test_a_sigmoid_is_half_at_its_center() -> None:
    assert windows.apply(Window(100, 50, "SIGMOID"), np.array([100.0])).tolist() == [0.5]


def test_an_image_without_a_window_has_none() -> None:
    notes: list[str] = []
    assert windows.read(reference.build(reference.gradient("u2", 12)), notes) is None
    assert notes == []
