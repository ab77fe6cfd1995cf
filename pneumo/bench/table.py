"""The comparisons as a table to read, as Markdown for a page, and as JSON to keep."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from pneumo.bench.comparison import Comparison

HEADINGS = ("part", "what", "ours", "baseline or limit", "theirs", "unit", "ratio", "lowest-highest")
FIELDS = ("machine", "comparisons")
"""Of the JSON."""
ON_THE_RIGHT = frozenset(("ours", "theirs", "ratio", "lowest-highest"))

MEANING = (
    "ratio: times as fast as the baseline, or the fraction of the limit, the median of the rounds; above 1 in a row of"
    " growth, an item takes less time in the larger work"
)


def text(comparisons: Sequence[Comparison], machine: Mapping[str, str]) -> str:
    """Return the table, below a line that describes the machine."""
    rows = [HEADINGS, *(_row(comparison) for comparison in comparisons)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(map(_cell, HEADINGS, row, widths)).rstrip() for row in rows]
    return "\n".join([_about(machine), "", *lines, "", MEANING]) + "\n"


def as_markdown(comparisons: Sequence[Comparison], machine: Mapping[str, str]) -> str:
    """Return the same table in Markdown."""
    rules = ["--:" if heading in ON_THE_RIGHT else "---" for heading in HEADINGS]
    rows = [HEADINGS, rules, *(_row(comparison) for comparison in comparisons)]
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join([_about(machine), "", *lines, "", MEANING]) + "\n"


def _about(machine: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())


def as_json(comparisons: Sequence[Comparison], machine: Mapping[str, str]) -> str:
    """Return the comparisons and the machine as JSON."""
    values = {"machine": dict(machine), "comparisons": [dataclasses.asdict(comparison) for comparison in comparisons]}
    return json.dumps(values, indent=2) + "\n"


def _row(row: Comparison) -> tuple[str, ...]:
    times = "" if row.baseline.startswith("limit") else "x"
    return (
        *(row.part, row.what, number(row.ours), row.baseline, number(row.theirs), row.unit),
        *(f"{number(row.ratio)}{times}", f"{number(row.lowest)}-{number(row.highest)}"),
    )


def _cell(heading: str, value: str, width: int) -> str:
    return value.rjust(width) if heading in ON_THE_RIGHT else value.ljust(width)


def number(value: float) -> str:
    """Return three significant digits without an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"
