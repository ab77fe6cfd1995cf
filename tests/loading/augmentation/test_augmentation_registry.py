"""The registry: what is active, and the ranges of its entries."""

from dataclasses import replace

import pytest
from augmentation_draws import NAMES, only

from pneumo.loading.augmentation.flip import Flip
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.runtime.errors import UserError


def test_active_are_the_entries_with_a_probability_in_the_order_of_the_fields():
    every = only(**{name: replace(getattr(Augmentation(), name), probability=0.1) for name in reversed(NAMES)})
    assert [name for name, _ in every.active()] == NAMES
    flip = Flip(probability=0.1)
    assert list(only(flip=flip).active()) == [("flip", flip)]
    assert not list(only().active())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [1.5, -0.1])
def test_probability_out_of_range_names_its_flag(name, value):
    with pytest.raises(UserError, match=f"--augmentation.{name}.probability {value}; expected 0 to 1"):
        replace(getattr(Augmentation(), name), probability=value)
