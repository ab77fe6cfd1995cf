"""Numbers as people read them."""

import pytest

from pneumo.reporting.report import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (99, "99 s"), (100, "2 min"), (3540, "59 min"),
        (3600, "1 h 00 min"), (7260, "2 h 01 min"), (47 * 3600, "47 h 00 min"), (50 * 3600, "2 d 2 h"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_scores_and_lists() -> None:
    assert [words.score(value) for value in (0.12345, 1.0, None, float("nan"))] == ["0.123", "1.000", "-", "-"]
    assert words.with_interval(0.5, (0.25, 0.75)) == "0.500 (0.250 to 0.750)"
    assert words.with_interval(-0.5, (-1, 0.75), "+") == "-0.500 (-1.000 to +0.750)"
    assert words.listed([0, 2]) == "0, 2"
