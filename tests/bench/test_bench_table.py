"""The numbers of the table."""

import pytest

from pneumo.bench import table
from pneumo.bench.comparison import per_item


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (12345.6, "12,346")],
)
def test_numbers_have_three_digits(value, shown):
    assert table.number(value) == shown


def test_markdown_has_a_line_for_each_comparison_and_no_bars_of_its_own():
    comparison = per_item("part", "a | b", "limit", "ms", ours=[1.0], theirs=[2.0], scale=1000)
    text = table.as_markdown([comparison], {"cores": "2", "GPU": "none"})
    assert text.splitlines()[0] == "cores 2, GPU none"
    assert "| part | a &#124; b | 1,000 | limit | 2,000 | ms | 2.00 | 2.00-2.00 |" in text.splitlines()
    assert "| --- | --- | --: |" in text
