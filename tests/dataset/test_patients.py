"""The numbering of patients."""

import numpy as np
import pytest

from pneumo.dataset.patients import count_patients, number_patients


@pytest.mark.parametrize(
    ("patients", "numbers"),
    [
        pytest.param([], [], id="no images"),
        pytest.param([7, 2, 7, 900], [1, 0, 1, 2], id="gaps are closed, in the order of the numbers"),
        pytest.param([-1, -1, -1], [0, 1, 2], id="unknown patients are different ones"),
        pytest.param([3, -1, 3, -1, 0], [1, 2, 1, 3, 0], id="unknown patients come last"),
    ],
)
def test_patients_are_numbered_from_0_without_gaps(patients: list[int], numbers: list[int]) -> None:
    numbered = number_patients(np.array(patients, np.int32))
    assert numbered.dtype == np.int64
    assert numbered.tolist() == numbers
    assert count_patients(np.array(patients, np.int32)) == len(set(numbers))
