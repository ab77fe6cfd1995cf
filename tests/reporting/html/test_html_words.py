"""Numbers as people read them, on every page alike."""

import math

from pneumo.reporting.explore import data_sections, lesion_sections
from pneumo.reporting.html import words
from pneumo.reporting.report import presence_sections, training_sections


def test_a_share_is_a_percentage_or_undefined() -> None:
    assert words.percent(0.2216) == "22.2 %"
    assert words.percent(0.2216, 0) == "22 %"
    assert words.percent(math.nan) == words.UNDEFINED


def test_all_pages_write_it_alike() -> None:
    for module in (data_sections, lesion_sections, presence_sections, training_sections):
        assert module.percent is words.percent
