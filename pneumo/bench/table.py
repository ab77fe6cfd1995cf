"""The measures as a table to read and as JSON to keep."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from pneumo.bench.race import Measure

HEADINGS = ("part", "what", "ours", "peer or limit", "theirs", "unit", "ratio", "lowest-highest")
ON_THE_RIGHT = frozenset(("ours", "theirs", "ratio", "lowest-highest"))


def text(measures: Sequence[Measure], machine: Mapping[str, str]) -> str:
    """Return the table under a line that names the machine."""
    rows = [HEADINGS, *(_row(measure) for measure in measures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(map(_cell, HEADINGS, row, widths)).rstrip() for row in rows]
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    meaning = "ratio: times as fast as the peer, or the share of the limit; the median of the rounds"
    return "\n".join([about, "", *lines, "", meaning]) + "\n"


def as_json(measures: Sequence[Measure], machine: Mapping[str, str]) -> str:
    """Return the same as JSON."""
    values = {"machine": dict(machine), "measures": [dataclasses.asdict(measure) for measure in measures]}
    return json.dumps(values, indent=2) + "\n"


def _row(measure: Measure) -> tuple[str, ...]:
    return (
        *(measure.part, measure.what, number(measure.ours), measure.peer, number(measure.theirs), measure.unit),
        *(f"{number(measure.ratio)}x", f"{number(measure.lowest)}-{number(measure.highest)}"),
    )


def _cell(heading: str, value: str, width: int) -> str:
    return value.rjust(width) if heading in ON_THE_RIGHT else value.ljust(width)


def number(value: float) -> str:
    """Return three significant digits without an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"
