"""The section on duplicates: those that mislead come first, with both pictures."""

from dataclasses import replace

from explore_data import make_analysis, make_table

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.duplicate_section import MAX_LISTED, MAX_SHOWN, duplicates
from pneumo.reporting.explore.duplicates import Duplicates, Pair
from pneumo.reporting.explore.scan import ScannedImage
from pneumo.reporting.html.page import Figures, Prose, Table


def pair(first: int, second: int, distance: int = 3, kind: str = "similar", **where: bool) -> Pair:
    flags = dict.fromkeys(("same_patient", "across_splits", "across_folds", "across_labels"), False)
    return Pair(first=first, second=second, kind=kind, distance=distance, **(flags | where))


def test_without_duplicates_the_method_is_said_all_the_same() -> None:
    method, nothing = duplicates(make_analysis(make_table(3)), None).blocks  # type: ignore[arg-type]
    assert isinstance(method, Prose)
    assert "differs in 40 bits or fewer" in method.paragraphs[0]
    assert nothing == Prose(paragraphs=["No two images are alike."])


def test_pairs_are_counted_listed_and_shown(explored: tuple[Analysis, ShardReader]) -> None:
    analysis, reader = explored
    test_row = int(analysis.table.select("test")[0])
    pairs = [
        pair(0, 1, kind="equal bytes", distance=0),
        pair(2, 3, across_folds=True, same_patient=True),
        pair(4, test_row, across_splits=True, kind="inverted copy"),
        pair(5, 6, across_labels=True, distance=30),
    ]
    section = duplicates(replace(analysis, duplicates=Duplicates(pairs=pairs, limit=40)), reader)
    counts, listed = [block for block in section.blocks if isinstance(block, Table)]
    assert dict(counts.rows) == {
        **{"equal bytes": 1, "similar": 2, "inverted copy": 1, "of one patient": 1},
        **{"with and without a pneumothorax": 1, "in two folds": 1, "a training and a test image": 1},
    }
    assert [row[3] for row in listed.rows] == [30, 3, 3, 0]
    assert listed.rows[2][4].endswith(" / test")
    assert [row[5] for row in listed.rows] == ["other or unknown", "same", "other or unknown", "other or unknown"]
    (figures,) = [block for block in section.blocks if isinstance(block, Figures)]
    assert len(figures.items) == 8
    assert figures.items[0].caption.startswith("Pair 1, image: fold")


def test_many_pairs_are_cut_and_damaged_images_not_shown(explored: tuple[Analysis, ShardReader]) -> None:
    analysis, reader = explored
    pairs = [pair(0, 1 + i % 20) for i in range(MAX_LISTED + 5)]
    scanned = [replace(one, damage="bad") if row == 1 else one for row, one in enumerate(analysis.scanned)]
    assert isinstance(scanned[1], ScannedImage)
    changed = replace(analysis, duplicates=Duplicates(pairs=pairs, limit=40), scanned=scanned)
    section = duplicates(changed, reader)
    _, listed = [block for block in section.blocks if isinstance(block, Table)]
    assert len(listed.rows) == MAX_LISTED
    assert f"The first {MAX_LISTED} of {MAX_LISTED + 5}." in listed.caption
    (figures,) = [block for block in section.blocks if isinstance(block, Figures)]
    assert len(figures.items) == 2 * MAX_SHOWN
    assert not any(
        str(analysis.table.image_id[1]) in figure.content.description.split(":")[0].split() for figure in figures.items
    )
