"""The computed times of folds, against numbers worked out by hand."""

from pathlib import Path

import pytest

from pneumo.bench import folds


@pytest.mark.parametrize(
    ("ranks", "ours", "theirs", "efficiency"),
    [(4, 1.25, 2, "1.00"), (5, 1, 1, "1.00"), (8, 0.75, 1, "0.83"), (20, 0.25, 1, "1.00")],
)
def test_the_plan_is_compared_with_a_rank_for_each_fold(
    ranks: int, ours: float, theirs: float, efficiency: str
) -> None:
    row = folds.compare(ranks)
    assert (row.ours, row.theirs, row.ratio) == (ours, theirs, theirs / ours)
    assert row.what == f"5 folds on {ranks} ranks, efficiency {efficiency} (computed)"


def test_the_table_has_every_number_of_ranks_once() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in list(folds.table())[2:]]
    ranges = [[int(number) for number in row[0].split("-")] for row in rows]
    assert [number for ends in ranges for number in range(ends[0], ends[-1] + 1)] == list(range(1, 65))
    assert rows[3] == ["4", "1, 1, 1, 1 then 4", "1.25", "2", "1.00"]
    assert rows[-1] == ["20-64", "4, 4, 4, 4, 4", "0.25", "1", "1.00-0.31"]


def test_the_page_has_this_table() -> None:
    page = Path(folds.__file__).parent / "README.md"
    assert "\n".join(folds.table()) in page.read_text()
