"""A chart of a page, without the library that draws it, which pages without a chart do not import."""

from dataclasses import dataclass

PREFIX = "pneumo-id-"
"""Begins the ids within a chart until its page gives it a number."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart as inline SVG."""

    svg: str
    description: str
    """What it shows, for those who do not see it."""

    def markup(self, number: int) -> str:
        """Return the SVG with ids of its own; charts of one page have different numbers."""
        return self.svg.replace(PREFIX, f"c{number}-")
