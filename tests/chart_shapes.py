"""Where the shapes of a chart are, read from its SVG: what a reader sees, whatever the code called it.

Places are shares of the (first) axes' width from the left and of its height from the top.
"""

import re

import numpy as np

from pneumo.reporting.html.chart import Chart


def paths(chart: Chart, color: str) -> list[np.ndarray]:
    """Return the corners (n, 2) of each path of a color, such as ``series-1``, within the axes."""
    clip = re.search(r'clip-path="url\(#([^)]*)\)"', chart.svg)
    assert clip is not None
    found = re.findall(rf'<path d="([^"]*)" clip-path="url\(#{clip[1]}\)" style="[^"]*var\(--{color}\)', chart.svg)
    return [_place(chart, re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)) for path in found]


def marks(chart: Chart, color: str) -> np.ndarray:
    """Return where the markers (n, 2) of a color are."""
    return _place(chart, re.findall(rf'<use [^>]* x="([^"]*)" y="([^"]*)" style="[^"]*var\(--{color}\)', chart.svg))


def cells(chart: Chart) -> list[list[float]]:
    """Return the filled cells of a heat map, those of the lowest value first: left, top, right and bottom end."""
    return [
        [round(float(end), 3) for end in (*part.min(axis=0), *part.max(axis=0))]
        for path in paths(chart, "series-1")
        for part in path.reshape(-1, 4, 2)
    ]


def _place(chart: Chart, points: list[tuple[str, str]]) -> np.ndarray:
    clip = re.search(r'clip-path="url\(#([^)]*)\)"', chart.svg)
    assert clip is not None
    frame = re.search(
        rf'<clipPath id="{clip[1]}">\s*<rect x="([^"]*)" y="([^"]*)" width="([^"]*)" height="([^"]*)"', chart.svg
    )
    assert frame is not None
    x, y, width, height = map(float, frame.groups())
    return (np.array(points, float).reshape(-1, 2) - (x, y)) / (width, height)
