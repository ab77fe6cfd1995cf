"""The band of a number, and of an age, which may be unknown."""

import pytest

from pneumo.dataset.bands import AGES, UNKNOWN, name_age
from pneumo.dicom.attributes import AGE_CAP
from pneumo.inference.subgroups import LESIONS, SPACINGS


@pytest.mark.parametrize(
    ("bands", "value", "name"),
    [
        (AGES, 0, "below 18 years"),
        (AGES, 17.9, "below 18 years"),
        (AGES, 18, "18 to below 40 years"),
        (AGES, 80, "80 years and more"),
        (SPACINGS, 0.139, "below 0.15 mm"),
        (SPACINGS, 0.168, "0.15 to below 0.18 mm"),
        (LESIONS, 31_999, "8,000 to below 32,000 px"),
        (LESIONS, 32_000, "32,000 px and more"),
    ],
)
def test_a_number_is_in_the_band_that_it_begins(bands, value, name) -> None:
    assert bands.name(value) == name


def test_an_age_is_in_a_band_or_unknown() -> None:
    assert [name_age(age) for age in (-1, 0, AGE_CAP)] == [UNKNOWN, "below 18 years", "80 years and more"]
