from dataclasses import replace

import numpy as np
import pytest
from plain_nested import nested_estimate
from random_maps import Maps

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.bootstrap import interval
from pneumo.inference.subgroups import LESIONS, Variable, lesion_area, score_subgroups, table_variables


def test_the_groups_have_the_scores_of_their_images_alone(maps: Maps) -> None:
    histograms = maps.histograms
    nested = nested_estimate(histograms)
    values = ["b", "a", "", "a", "a"] * (len(histograms) // 5)
    a, b = score_subgroups(histograms, nested, Variable(values=values, order=["a", "never", "b"]))
    assert (a.name, b.name) == ("a", "b")
    index = np.flatnonzero(np.array(values) == "a")
    dice, positive = nested.dice[index], histograms.positive[index]
    assert a.images == len(index)
    assert a.positives == positive.sum()
    assert a.scores.dice == dice.mean()
    assert a.scores.dice_positive == dice[positive].mean()
    assert a.scores.specificity == (~nested.predicted_positive[index][~positive]).mean()
    assert a.dice_all_empty == (~positive).mean()
    patients = np.unique(histograms.patient[index], return_inverse=True)[1]
    assert a.patients == patients.max() + 1 < a.images
    assert a.dice_interval == interval(dice, patients)
    called = nested.predicted_positive[index]
    for found, kind, values in (
        (a.sensitivity_interval, positive, called),
        (a.specificity_interval, ~positive, ~called),
    ):
        numbers = np.unique(patients[kind], return_inverse=True)[1]
        assert found == interval(values[kind].astype(float), numbers)


def test_a_group_without_positive_images_has_no_dice_on_them(maps: Maps) -> None:
    histograms = maps.histograms
    values = ["empty" if empty else "" for empty in ~histograms.positive]
    (group,) = score_subgroups(histograms, nested_estimate(histograms), Variable(values=values, order=["empty"]))
    assert (group.positives, group.dice_all_empty) == (0, 1.0)
    assert group.scores.dice_positive is None
    assert group.scores.sensitivity is None
    assert group.sensitivity_interval is None
    assert group.specificity_interval is not None


def test_lesions_are_measured_at_the_reference_size(maps: Maps) -> None:
    histograms = maps.histograms
    variable = lesion_area(histograms)
    areas = histograms.truth * 2**20 / histograms.pixels
    assert variable.values == [LESIONS.name(area) if area else "" for area in areas]
    assert {value for value, positive in zip(variable.values, histograms.positive, strict=True) if not positive} == {""}


def test_the_table_gives_sex_age_view_and_spacing_of_the_images_asked_for(reader: ShardReader) -> None:
    rows = reader.table.select("train")[[3, 1, 2]]
    table = replace(
        reader.table,
        sex=np.where(np.arange(len(reader.table)) == rows[0], "", "F"),
        age_years=np.where(np.arange(len(reader.table)) == rows[1], -1, 45).astype(np.int16),
        view=np.full(len(reader.table), "PA"),
        row_spacing_mm=np.where(np.arange(len(reader.table)) == rows[2], np.nan, 0.143),
    )
    variables = table_variables(table, reader.table.image_id[rows].tolist())
    assert {name: variable.values for name, variable in variables.items()} == {
        "sex": ["unknown", "F", "F"],
        "age": ["40 to below 60 years", "unknown", "40 to below 60 years"],
        "view": ["PA"] * 3,
        "pixel spacing": ["below 0.15 mm", "below 0.15 mm", "unknown"],
    }
    assert all(set(variable.values) <= set(variable.order) for variable in variables.values())
    assert variables["sex"].order == ["F", "unknown"]


def test_an_image_of_another_dataset_has_no_row(reader: ShardReader) -> None:
    with pytest.raises(KeyError):
        table_variables(reader.table, ["1.2.3"])
