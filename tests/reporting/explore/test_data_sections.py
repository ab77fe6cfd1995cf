"""The sections on images, patients, groups, folds and files: the figures of the dataset, and no more than is known."""

import re
from collections import Counter
from dataclasses import replace
from typing import TypeVar

import pytest
from explore_data import make_analysis, make_table

from pneumo.reporting.explore import cautions, data_sections
from pneumo.reporting.explore.groups import GroupRate
from pneumo.reporting.html.page import Details, Facts, Figures, Points, Prose, Section, Table
from pneumo.reporting.html.words import UNDEFINED

T = TypeVar("T")
MIXED = {
    "split": ["train"] * 8 + ["test"] * 2,
    "fold": [0, 0, 0, 0, 1, 1, 1, 1, -1, -1],
    "positive": [True, False] * 4 + [False, False],
    "mask_area": [200, 0] * 4 + [-1, -1],
    "patient": [0, 0, 1, 1, 2, 2, 3, 3, 4, -1],
    "view": ["PA", "PA", "AP", "AP", "PA", "PA", "AP", "AP", "PA", "LL"],
}


def block(section: Section, kind: type[T]) -> T:
    (found,) = [one for one in section.blocks if isinstance(one, kind)]
    return found


def test_a_rate_has_its_interval_or_is_undefined() -> None:
    assert data_sections.rate_text(GroupRate(name="", images=263, positives=81)) == "30.8 % (25.5 to 36.6)"
    assert data_sections.rate_text(GroupRate(name="", images=0, positives=0)) == UNDEFINED


def test_the_counts_are_those_of_the_dataset() -> None:
    section = data_sections.counts(make_analysis(make_table(10, **MIXED)))
    facts = {name: value for value, name in block(section, Facts).items}
    assert facts["labeled images"] == 8
    assert facts["of them with a pneumothorax"] == 4
    assert facts["of the labeled images (95 % interval: 21.5 to 78.5 %)"] == "50.0 %"
    assert facts["test images, without a label"] == 2
    assert (facts["known patients"], facts["patients with several images"]) == (5, 4)
    assert facts["of the pixels of all positive images are in masks"] == "2.0 %"


@pytest.mark.parametrize(("columns", "manifest"), [({}, {"grouped_by": "none"}), ({"patient": -1}, {})])
def test_unknown_patients_are_said_to_be_unknown(columns: dict[str, int], manifest: dict[str, str]) -> None:
    section = data_sections.counts(make_analysis(make_table(10, **(MIXED | columns)), **manifest))
    assert "It is not known which images are of one patient" in str(block(section, Prose).paragraphs)


def test_groups_have_a_chart_when_there_are_several_and_a_row_each() -> None:
    section = data_sections.groups(make_analysis(make_table(10, **MIXED, modality="")))
    captions = [figure.caption.partition(".")[0] for figure in block(section, Figures).items]
    assert captions == ["Ages of the labeled images, with and without a pneumothorax", "View"]
    rows = {row[0]: row[1:] for row in block(section, Table).rows}
    assert rows["View: PA"] == [4, 2, "50.0 % (15.0 to 85.0)", 1]
    assert rows["View: LL"] == [0, 0, UNDEFINED, 1]
    assert rows["Sex: female"][0] == 8
    (unknown,) = [one for one in section.blocks if isinstance(one, Prose)][1:]
    assert unknown.paragraphs == ["Not known of any image: modality, presentation."]


def test_the_area_of_an_attribute_is_that_of_its_caution() -> None:
    positive = [i % 4 == 0 for i in range(200)]
    view = ["AP" if one or i % 3 == 0 else "PA" for i, one in enumerate(positive)]
    analysis = make_analysis(make_table(200, positive=positive, view=view))
    section = data_sections.groups(analysis)
    (caption,) = [str(figure.caption) for figure in block(section, Figures).items if "View" in str(figure.caption)]
    (caution,) = [one.found for one in cautions.find(analysis) if one.found.startswith("View")]
    numbers = re.findall(r"0\.\d\d", caption)
    assert len(numbers) == 2
    assert re.findall(r"0\.\d\d", caution) == numbers
    assert "200 shuffles" in str(section.blocks[0])


def test_a_dataset_of_test_images_has_groups_without_rates() -> None:
    columns = MIXED | {"split": "test", "fold": -1, "positive": False, "mask_area": -1}
    analysis = make_analysis(make_table(10, **columns))
    section = data_sections.groups(analysis)
    assert not [one for one in section.blocks if isinstance(one, Figures)]
    assert {row[1] for row in block(section, Table).rows} == {0}
    assert "No image is labeled" in str(block(data_sections.folds(analysis), Prose).paragraphs)


def test_the_folds_are_rows() -> None:
    first, second = block(data_sections.folds(make_analysis(make_table(10, **MIXED))), Table).rows
    assert first == ["fold 0", 4, 2, "2: 50.0 % (15.0 to 85.0)", "2.00 %", "50", "100 %", "50 %"]
    assert second[0] == "fold 1"
    one_fold = make_analysis(make_table(3, age_years=-1, sex="", view=""))
    (row,) = block(data_sections.folds(one_fold), Table).rows
    assert row[4:] == [UNDEFINED] * 4


def test_every_file_is_accounted_for_with_its_reason() -> None:
    analysis = make_analysis(make_table(10, **MIXED), found=13, quarantined=2, left_out=1)
    analysis = replace(analysis, quarantined=Counter(empty_file=2), left_out=Counter({"lateral view": 1}))
    section = data_sections.missing(analysis)
    files, *reasons = [one for one in section.blocks if isinstance(one, Table)]
    numbers = {str(row[0]): int(row[1]) for row in files.rows}
    assert numbers["found"] == sum(number for name, number in numbers.items() if name != "found") == 13
    assert [one.rows for one in reasons] == [[["empty_file", 2]], [["lateral view", 1]]]
    assert "No image is flat" in str(section.blocks[-1])


def test_many_oddities_are_folded_away() -> None:
    lines = [f"oddity {number}" for number in range(data_sections.MAX_ODDITIES + 3)]
    section = data_sections.missing(replace(make_analysis(make_table(2)), oddities=lines))
    assert block(section, Points).items == lines[:-3]
    more = block(section, Details)
    assert more.summary == "3 more"
    assert isinstance(more.blocks[0], Points)
    assert more.blocks[0].items == lines[-3:]
