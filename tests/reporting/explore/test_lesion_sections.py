"""The sections on lesions, and which images are shown."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from chart_shapes import cells
from explore_data import make_analysis, make_table, square

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.explore import lesion_sections, lesions
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.lesions import area_cm2
from pneumo.reporting.explore.scan import ScannedImage
from pneumo.reporting.html.chart import Chart
from pneumo.reporting.html.page import Figures, Heading, Prose, Table
from pneumo.reporting.html.pictures import XrayPicture

Explored = tuple[Analysis, ShardReader]


def sized(sides: Sequence[float]) -> Analysis:
    """An analysis of positive images with squares of such sides, followed by as many negative ones."""
    number = len(sides)
    spacing = [0.1 + 0.01 * i for i in range(2 * number)]
    positive = [True] * number + [False] * number
    table = make_table(2 * number, positive=positive, mask_area=100, row_spacing_mm=spacing)
    scanned = [ScannedImage(lesions=square(side=side)) for side in sides] + [ScannedImage()] * number
    return make_analysis(table, scanned)


def test_lesions_are_described_by_size_number_place_and_spacing(explored: Explored) -> None:
    section = lesion_sections.lesions(*explored)
    prose, figures, sides = section.blocks
    assert isinstance(prose, Prose)
    assert isinstance(figures, Figures)
    assert isinstance(sides, Table)
    assert f"The masks of {len(explored[0].measured)} images." in str(prose.paragraphs[0])
    assert [figure.content.description.partition(" ")[0] for figure in figures.items] == [
        *("Histogram", "Images", "Heat")  # all of one pixel spacing
    ]
    numbers = {str(row[0]): int(row[1]) for row in sides.rows}
    assert sum(numbers.values()) - numbers["at the edge of the image"] == len(explored[0].measured)


def test_the_map_shows_a_lesion_where_it_is_in_the_picture() -> None:
    upper_right = [ScannedImage(lesions=square(x=0.75, y=0.25, side=0.5)) for _ in range(3)]
    section = lesion_sections.lesions(make_analysis(make_table(3, positive=True, mask_area=2500), upper_right), None)  # type: ignore[arg-type]
    (figures,) = [block for block in section.blocks if isinstance(block, Figures)]
    (chart,) = [one.content for one in figures.items if one.content.description.startswith("Heat map")]
    assert isinstance(chart, Chart)
    filled = np.array(cells(chart))
    assert [*filled[:, :2].min(axis=0), *filled[:, 2:].max(axis=0)] == pytest.approx([0.5, 0, 1, 0.5], abs=0.02)


@pytest.mark.parametrize("spacing", [float("nan"), 0.2])
def test_without_spacings_that_differ_there_is_no_size_against_it(spacing: float) -> None:
    table = make_table(4, positive=True, row_spacing_mm=spacing)
    section = lesion_sections.lesions(make_analysis(table), None)  # type: ignore[arg-type]
    (figures,) = [block for block in section.blocks if isinstance(block, Figures)]
    assert len(figures.items) == 3


def test_without_a_mask_there_are_no_lesions_and_no_examples() -> None:
    analysis = make_analysis(make_table(3))
    (block,) = lesion_sections.lesions(analysis, None).blocks  # type: ignore[arg-type]
    assert block.paragraphs == ["No image of the dataset has a mask."]
    assert lesion_sections.examples(analysis, None) == []  # type: ignore[arg-type]


def test_positives_are_spread_from_the_smallest_mask_to_the_largest() -> None:
    analysis = sized([0.5, 0.1, 0.3, 0.4, 0.2])
    assert lesion_sections.choose_positives(analysis, 3).tolist() == [1, 2, 0]
    assert lesion_sections.choose_positives(analysis, 9).tolist() == [1, 4, 2, 3, 0]
    assert lesion_sections.choose_positives(analysis, 0).tolist() == []
    assert lesion_sections.choose_positives(make_analysis(make_table(2)), 3).tolist() == []


def test_negatives_are_drawn_by_the_seed_without_damaged_ones() -> None:
    table = make_table(50, positive=[True] * 10 + [False] * 40, split=["train"] * 40 + ["test"] * 10)
    scanned = [ScannedImage(damage="bad" if row == 20 else "") for row in range(50)]
    analysis = make_analysis(table, scanned)
    drawn = lesion_sections.choose_negatives(analysis, 5, seed=1)
    assert drawn.tolist() == lesion_sections.choose_negatives(analysis, 5, seed=1).tolist()
    assert drawn.tolist() != lesion_sections.choose_negatives(analysis, 5, seed=2).tolist()
    assert lesion_sections.choose_negatives(analysis, 99, seed=0).tolist() == [
        row for row in range(10, 40) if row != 20
    ]


def test_the_contact_sheets_outline_positives_alone(explored: Explored) -> None:
    positives, negatives = lesion_sections.sheets(*explored, number=4, seed=0)
    for section, outlined in ((positives, True), (negatives, False)):
        _, figures = section.blocks
        assert isinstance(figures, Figures)
        assert len(figures.items) == 4
        for figure in figures.items:
            assert isinstance(figure.content, XrayPicture)
            assert bool(figure.content.truth) == outlined
            assert ("the mask is outlined" in figure.content.description) == outlined
            assert "<code>" in figure.caption


def test_an_empty_sheet_says_so() -> None:
    sections = lesion_sections.sheets(make_analysis(make_table(0)), None, number=4, seed=0)  # type: ignore[arg-type]
    assert [str(section.blocks) for section in sections] == [str([Prose(paragraphs=["There is none."])])] * 2


def test_an_example_is_shown_without_and_with_its_mask(explored: Explored) -> None:
    (block,) = lesion_sections.examples(*explored)
    assert isinstance(block, Figures)
    plain, outlined = (figure.content for figure in block.items)
    assert isinstance(plain, XrayPicture)
    assert isinstance(outlined, XrayPicture)
    assert (plain.jpeg, plain.truth) == (outlined.jpeg, "")
    assert outlined.truth


def test_masks_in_unusual_places_are_shown(explored: Explored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesions, "MIN_MASKS", 2)
    monkeypatch.setattr(lesion_sections, "UNUSUAL", -1.0)
    section = lesion_sections.lesions(*explored)
    assert Heading(title="Masks in unusual places") in section.blocks
    figures = section.blocks[-1]
    assert isinstance(figures, Figures)
    assert len(figures.items) == min(lesion_sections.MAX_UNUSUAL, len(explored[0].measured))


def test_many_masks_are_sampled_for_the_scatter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesion_sections, "MAX_POINTS", 3)
    (figure,) = lesion_sections._size_by_spacing(sized(np.linspace(0.1, 0.3, 6).tolist()))
    assert "Area of 3 masks" in figure.content.description
    assert "A sample of 3." in figure.caption
    assert len(re.findall(r"<use [^>]*fill: var\(--series-1\)", figure.content.svg)) == 3


def test_sizes_are_shares_of_the_image_where_no_spacing_can_be_right() -> None:
    analysis = sized([0.1, 0.2, 0.3])
    table = replace(
        analysis.table, column_spacing_mm=np.full(6, 0.1), mask_area=np.array([100, 250, 400, 0, 0, 0]),
    )  # fmt: skip
    (figure,) = lesion_sections._size_by_spacing(replace(analysis, table=table))
    assert figure.content.description == "Area of 3 masks by pixel spacing, 1 to 4 % of the image"
    assert figure.caption == "Size against spacing: the share of the image."


def test_the_scatter_is_described_by_the_points_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesion_sections, "MAX_POINTS", 3)
    sides = np.linspace(0.1, 0.6, 6)
    drawn = np.random.default_rng(0).choice(6, 3, replace=False)
    analysis = sized(sides.tolist())
    (figure,) = lesion_sections._size_by_spacing(analysis)
    areas = area_cm2(analysis.table, np.sort(drawn))
    assert f"{areas.min():.2g} to {areas.max():.3g} cm²" in figure.content.description
    monkeypatch.setattr(lesion_sections, "MAX_POINTS", 6)
    assert "A sample" not in lesion_sections._size_by_spacing(analysis)[0].caption, "all masks are drawn"


def test_masks_of_every_view_are_drawn() -> None:
    views = ["PA", "PA", "AP", "AP", "LL", "RL", "LAO", "RAO", "LPO", ""]
    spacing = [0.1 + 0.01 * i for i in range(10)]
    table = make_table(10, positive=True, mask_area=100, view=views, row_spacing_mm=spacing)
    (figure,) = lesion_sections._size_by_spacing(make_analysis(table))
    svg = figure.content.svg
    assert "Area of 10 masks" in figure.content.description
    points = sum(len(re.findall(rf"<use [^>]*fill: var\(--series-{number}\)", svg)) for number in range(1, 7))
    assert points - lesion_sections.MAX_VIEWS == 10, "one more of each in the legend"
    assert all(f">{name}<" in svg for name in ("PA", "AP", "other"))
