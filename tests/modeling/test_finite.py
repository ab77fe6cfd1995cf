"""Values that are not finite are found by their names."""

import pytest
import torch

from pneumo.modeling.finite import find_nonfinite

GOOD = {"a": torch.ones(3), "count": torch.tensor(4), "nested": [{"b": torch.zeros(2, 2)}, "nan"], "scale": 2.0}


def test_finite_values_of_any_kind_are_passed_over() -> None:
    assert find_nonfinite(GOOD) == ""
    assert find_nonfinite({"largest": torch.tensor(torch.finfo().max), "none": torch.zeros(0)}) == ""
    assert find_nonfinite({"a sum beyond float32": torch.full((4,), torch.finfo().max)}) == ""


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_single_value_is_found_by_its_path(value: float) -> None:
    broken = torch.zeros(2, 2)
    broken[1, 0] = value
    assert find_nonfinite({**GOOD, "state": {0: {"exp_avg": broken}}}) == "state.0.exp_avg"
    assert find_nonfinite([torch.ones(1), broken]) == "1"


def test_a_whole_number_is_finite() -> None:
    assert find_nonfinite({"n": torch.tensor([2**62])}) == ""
