"""Rates of groups: Wilson's interval against published values and its own equation."""

import math

import numpy as np
import pytest
from explore_data import make_table

from pneumo.dataset.bands import AGES, UNKNOWN
from pneumo.reporting.explore import groups
from pneumo.reporting.explore.groups import ATTRIBUTES, GroupRate, merge_small, rates, wilson


@pytest.mark.parametrize(
    ("positives", "images", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17:857, 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilsons_interval(positives: int, images: int, low: float, high: float) -> None:
    assert wilson(positives, images) == pytest.approx((low, high), abs=5e-5)


def test_the_ends_of_the_interval_solve_its_equation() -> None:
    """At each end, the observed rate is 1.96 standard errors of that end away."""
    for end in wilson(7, 40):
        assert abs(7 / 40 - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 40))


def test_of_five_intervals_each_is_that_of_99_percent() -> None:
    for end in wilson(7, 40, intervals=5):
        assert abs(7 / 40 - end) == pytest.approx(2.575829 * math.sqrt(end * (1 - end) / 40))


def test_attributes_are_read_from_the_table() -> None:
    table = make_table(
        4,
        age_years=[-1, 17, 18, 90],
        sex=["M", "F", "O", ""],
        view=["PA", "AP", "", "LL"],
        row_spacing_mm=[0.2, 0.14, math.nan, 0.2],
        column_spacing_mm=[0.2, 0.16, math.nan, 0.2],
        transfer_syntax=["1.2.840.10008.1.2.4.50", "", "1.2.3.4", ""],
        was_monochrome1=[True, False, False, False],
        columns=[100, 200, 100, 100],
    )
    found = {name: label(table).tolist() for name, label in ATTRIBUTES.items()}
    assert found["Age"] == ["unknown", "below 18 years", "18 to below 40 years", "80 years and more"]
    assert found["Sex"] == ["male", "female", "other", "unknown"]
    assert found["View"] == ["PA", "AP", "unknown", "LL"]
    assert found["Pixel spacing"] == ["0.200 mm", "0.140 x 0.160 mm", "unknown", "0.200 mm"]
    assert found["Transfer syntax"] == ["JPEG Baseline (Process 1)", "PNG or JPEG file", "1.2.3.4", "PNG or JPEG file"]
    assert found["Gray scale"][:2] == ["inverted (MONOCHROME1)", "black is 0"]
    assert found["Image size"][1] == "100 x 200"
    assert found["Presentation"] == ["unknown"] * 4
    assert {len(labels) for labels in found.values()} == {4}


def test_rates_count_each_group_and_unknown_ones_come_last() -> None:
    labels = np.array(["unknown", "b", "a", "b", "unknown", "unknown"])
    found = rates(labels, np.array([True, True, False, False, False, True]))
    assert [(one.name, one.images, one.positives) for one in found] == [("b", 2, 1), ("a", 1, 0), ("unknown", 3, 2)]
    assert found[0].rate == 0.5
    assert math.isnan(GroupRate(name="", images=0, positives=0).rate)


def test_groups_with_an_order_keep_it() -> None:
    names = [*AGES.names, UNKNOWN]
    found = rates(np.array([*names, "18 to below 40 years"])[::-1], np.zeros(7, bool), ordered=True)
    assert [one.name for one in found] == names
    sizes = ["90 x 90", "100 x 90"]
    assert [one.name for one in rates(np.array(sizes), np.zeros(2, bool), ordered=True)] == sizes


def test_many_groups_become_the_largest_and_one_of_the_others() -> None:
    labels = np.array([f"{i:02}" for i in range(20) for _ in range(20 - i)])
    merged = merge_small(labels)
    assert set(merged) == {*(f"{i:02}" for i in range(groups.MAX_GROUPS - 1)), "other"}
    assert (merged == "other").sum() == sum(20 - i for i in range(groups.MAX_GROUPS - 1, 20))
    assert merge_small(labels[:50]).tolist() == labels[:50].tolist()
