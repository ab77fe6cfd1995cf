"""The numbers of the table."""

import pytest

from pneumo.bench import table


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (12345.6, "12,346")],
)
def test_numbers_have_three_digits(value, shown):
    assert table.number(value) == shown
