"""The whole page: for a full dataset, and for those that lack labels, ages, patients, a test split, or anything."""

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from explore_data import make_analysis, make_table

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.explore import cautions, page
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.html.page import Notice, render

TODAY = datetime.date(2026, 11, 26)


def build(analysis: Analysis, reader: ShardReader | None = None, pictures: int = 0) -> str:
    return render(page.build(analysis, reader, pictures=pictures, seed=0, today=TODAY))  # type: ignore[arg-type]


def test_the_page_has_all_sections_and_the_same_bytes_each_time(explored: tuple[Analysis, ShardReader]) -> None:
    text = build(*explored, pictures=2)
    for title in (
        *("Warnings", "Pneumothorax on a chest X-ray", "How the labels are made", "Images and patients"),
        *("Groups of images", "Lesions", "Images with a pneumothorax", "Images without a pneumothorax", "Duplicates"),
        *("Folds", "What is not in the dataset", "References"),
    ):
        assert f">{title}</h2>" in text
    assert text == build(*explored, pictures=2)
    assert text.count("<img ") == 6  # two of each sheet, and the example twice
    assert "This page contains X-rays of patients" in text
    assert "2026-11-26" in text


@pytest.mark.parametrize(
    ("number", "columns"),
    [
        (0, {}),
        (1, {}),
        (6, {}),
        (6, {"split": "test", "fold": -1, "mask_area": -1}),
        (6, {"age_years": -1, "sex": "", "view": "", "modality": "", "patient": -1}),
        (6, {"row_spacing_mm": float("nan"), "column_spacing_mm": float("nan"), "transfer_syntax": ""}),
        (20, {"fold": [i % 2 for i in range(20)], "patient": range(20)}),
    ],
    ids=["nothing", "one image", "no positive, one fold", "test images", "nothing known", "no spacing", "negative"],
)
def test_a_dataset_that_lacks_something_has_a_page(number: int, columns: dict[str, Any]) -> None:
    text = build(make_analysis(make_table(number, **columns)))
    assert ">References</h2>" in text
    assert "nan" not in text.lower().replace("finance", "")


def test_hostile_values_of_a_header_stay_text() -> None:
    hostile = "<script>alert(1)</script>"
    analysis = make_analysis(make_table(40, view=[hostile, "PA"] * 20, modality=hostile, image_id=hostile))
    text = build(analysis)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_warning_leads_to_the_section_that_shows_it() -> None:
    source = Path(cautions.__file__).read_text()
    titles = set(re.findall(r'see="([^"]+)"', source))
    assert len(titles) == 6
    text = build(make_analysis(make_table(40, age_years=0)))
    assert "of patients of 0 years. They are infants" in text
    assert 'See <a href="#groups-of-images">Groups of images</a>.' in text
    assert all(f">{title}</h2>" in text for title in titles)


def test_a_dataset_without_a_fault_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.cautions, "find", lambda analysis: [])
    first = page.warnings(make_analysis(make_table(1))).blocks[0]
    assert first == Notice(kind="Good", text="Nothing in this dataset calls for a warning.")
