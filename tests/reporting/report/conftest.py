"""What the sections give the charts to draw."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo.reporting.html import charts
from pneumo.reporting.html.chart import Chart


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """The arguments of each chart by their names, in the order of drawing; nothing is drawn."""
    found: list[SimpleNamespace] = []
    for name in ("lines", "intervals", "heat_map"):
        signature = inspect.signature(getattr(charts, name))

        def record(*values: Any, signature: inspect.Signature = signature, **named: Any) -> Chart:
            given = signature.bind(*values, **named)
            given.apply_defaults()
            found.append(SimpleNamespace(**given.arguments))
            return Chart(svg="<svg></svg>", description=given.arguments["description"])

        monkeypatch.setattr(charts, name, record)
    return found
