"""The goals on the page of the benchmarks are compared with what its tables show."""

import re
from pathlib import Path

import pneumo.bench

PAGE = (Path(pneumo.bench.__file__).parent / "README.md").read_text()
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def table(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables in a text."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_what_is_reached_is_a_figure_of_the_tables() -> None:
    results, _, rest = PAGE.partition("## Goals\n")
    goals = table(rest.partition("\n## ")[0])[1:]
    shown = {number for cells in table(results) for cell in cells[1:] for number in NUMBER.findall(cell)}
    assert len(shown) > 100
    assert len(goals) > 15
    for what, _, reached, verdict in goals:
        assert verdict in ("met", "**not met**"), what
        assert set(NUMBER.findall(reached)) <= shown, what
