"""The registry: what is active, and the ranges of its entries."""

from dataclasses import replace

import pytest
from augmentation_draws import NAMES, only

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.distortion import Distortion
from pneumo.loading.augmentation.flip import Flip
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.runtime.errors import UserError


def test_active_are_the_entries_with_a_probability_in_the_order_of_the_fields():
    every = only(**{name: replace(getattr(Augmentation(), name), probability=0.1) for name in reversed(NAMES)})
    assert [name for name, _ in every.active()] == NAMES
    flip = Flip(probability=0.1)
    assert list(only(flip=flip).active()) == [("flip", flip)]
    assert not list(only().active())


def test_without_flags_the_ranges_are_the_usual_ones_of_albumentations():
    """Of its HorizontalFlip, ShiftScaleRotate, RandomBrightnessContrast and RandomGamma."""
    assert Augmentation() == Augmentation(
        flip=Flip(probability=0.5),
        affine=Affine(probability=0.5, translate=0.0625, scale=0.1, rotate_deg=45.0),
        intensity=Intensity(probability=0.3, contrast=0.2, gamma=0.2, brightness=0.2),
        distortion=Distortion(probability=0.0),
        rng_scheme=2,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [1.5, -0.1])
def test_probability_out_of_range_names_its_flag(name, value):
    with pytest.raises(UserError, match=f"--augmentation.{name}.probability {value}; expected 0 to 1"):
        replace(getattr(Augmentation(), name), probability=value)
