"""The summary of each fold."""

import math

import pytest
from explore_data import make_table

from pneumo.reporting.explore import folds


def test_each_fold_is_summarized_by_itself() -> None:
    table = make_table(
        6,
        split=["train"] * 5 + ["test"],
        fold=[0, 0, 0, 2, 2, -1],
        positive=[True, True, False, False, False, False],
        mask_area=[100, 300, 0, 0, 0, -1],
        patient=[5, 5, -1, -1, -1, 5],
        age_years=[20, 40, -1, -1, -1, 99],
        sex=["F", "M", "", "", "", "F"],
        view=["AP", "AP", "PA", "", "", "AP"],
    )
    first, second = folds.summarize(table)
    assert (first.rate.name, first.rate.images, first.rate.positives, first.patients) == ("fold 0", 3, 2, 2)
    assert first.median_area == pytest.approx(0.02)
    assert (first.median_age, first.female) == (30, 0.5)
    assert first.ap == pytest.approx(2 / 3)
    assert (second.rate.name, second.rate.images, second.patients) == ("fold 2", 2, 2)
    assert all(math.isnan(value) for value in (second.median_area, second.median_age, second.female, second.ap))


def test_without_labels_there_is_no_fold() -> None:
    assert folds.summarize(make_table(2, split="test", fold=-1)) == []
