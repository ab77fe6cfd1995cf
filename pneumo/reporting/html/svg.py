"""A matplotlib figure as an inline SVG whose colors are the page's, and whose text stays text.

Figures are drawn in placeholder colors, each of which becomes a CSS variable of the page: one picture follows light,
dark and print. Only ``matplotlib.figure.Figure`` is used, never pyplot, which keeps figures in a global state.
"""

import io
import re

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure
from matplotlib.text import Text

from pneumo.reporting.html.chart import PREFIX, Chart

INK, MUTED, LINE, PAPER = "#0000e1", "#0000e2", "#0000e3", "#0000e4"
SERIES = ("#0000f1", "#0000f2", "#0000f3", "#0000f4", "#0000f5", "#0000f6")
"""Placeholder colors of the series of a chart, in their order."""
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", PAPER: "--paper"} | {
    color: f"--series-{number}" for number, color in enumerate(SERIES, 1)
}


def to_svg(figure: Figure, description: str) -> Chart:
    """Draw a figure; the same figure gives the same text.

    Args:
        figure: Drawn in ``INK``, ``MUTED``, ``LINE``, ``PAPER`` and ``SERIES``; another color stays as it is.
        description: What the chart shows, in a sentence, with the numbers that matter.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # a dollar sign in a name is no formula
    stream = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pneumo"}):
        figure.savefig(stream, format="svg", metadata=metadata, transparent=True)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    for change in (_drop_sheet, _own_ids, _shorten):
        svg = change(svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    head = (
        f'<svg class="chart" role="img" aria-label="{escape(description)}" '
        f'viewBox="0 0 {figure.get_figwidth() * 72:g} {figure.get_figheight() * 72:g}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Chart(svg=head + svg.partition(">")[2].strip(), description=description)


def _drop_sheet(svg: str) -> str:
    """Remove matplotlib's style sheet, which would hold for the whole page, and its fonts; the page has both."""
    svg = re.sub(r"\s*<defs>\s*<style[^<]*</style>\s*</defs>", "", svg, count=1)
    return re.sub(r" font-family: [^;\"]+;", "", svg)


def _own_ids(svg: str) -> str:
    """Mark the ids that are referred to, and remove the others."""
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([\w.-]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{PREFIX}{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(url\(#|xlink:href="#)', rf"\1{PREFIX}", svg)


def _shorten(svg: str) -> str:
    """Remove line ends within paths, and digits of coordinates below a hundredth of a point; text stays as it is."""
    svg = re.sub(r' d="[^"]*"', lambda path: path[0].replace("\n", ""), svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
    return re.sub(r"\n\s*", "\n", svg)
