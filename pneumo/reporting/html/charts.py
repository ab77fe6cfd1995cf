"""The charts of the pages: lines, intervals, bars, histograms, scatters and heat maps in one look.

Nothing is told by color alone: series differ in line style and marker too, and each has its name beside it. Sizes are
in points of 1/72 inch, which on a phone are about a pixel each.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pneumo.reporting.html.chart import Chart
from pneumo.reporting.html.svg import INK, LINE, MUTED, PAPER, SERIES, to_svg

WIDTH, HEIGHT = 360, 250
"""Of a chart that fits a phone."""
FONT = 10.0
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
_MAX_MARKERS = 8
"""Markers on a line; more hide it."""
_LEVELS = 10
"""Shades of a heat map."""
_FLAT = 1e-9
"""Difference below which the values of a heat map are equal."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Series:
    """A named line or group of points."""

    name: str
    x: Sequence[float] | Floats
    y: Sequence[float] | Floats
    low: Sequence[float] | Floats | None = None
    """Lower end of an interval about each y, drawn as a band; None without one."""
    high: Sequence[float] | Floats | None = None
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval, of one group."""

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    """What stands at the right, such as the group's size."""


def new_axes(*, height: float = HEIGHT, x_label: str = "", y_label: str = "") -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes in the look of the pages, for a chart that is not one of those below.

    Args:
        height: In points.
        x_label: Below the horizontal axis.
        y_label: Above the vertical axis, where it is read without turning the head.
    """
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=MUTED, fontsize=FONT)
    axes.set_title(y_label, loc="left", color=MUTED, fontsize=FONT)
    axes.tick_params(length=0, labelsize=FONT, labelcolor=INK)
    axes.grid(visible=True, color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)
    return figure, axes


def lines(
    series: Sequence[Series],
    *,
    description: str,
    x_label: str,
    y_label: str,
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
    markers: bool = True,
    whole_x: bool = False,
) -> Chart:
    """Draw lines, each with its name at its right end.

    Args:
        series: At most six; values that are not finite leave a gap.
        description: See ``to_svg``.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        x_limits: Ends of the horizontal axis; None = those of the values.
        y_limits: Ends of the vertical axis.
        markers: Draw markers on the lines.
        whole_x: The horizontal axis counts: it has whole numbers alone.
    """
    assert len(series) <= len(SERIES), "more series than can be told apart"
    figure, axes = new_axes(x_label=x_label, y_label=y_label)
    for number, one in enumerate(series):
        x, y = np.asarray(one.x, float), np.asarray(one.y, float)
        axes.plot(
            x, y, color=SERIES[number], linestyle=LINE_STYLES[number], linewidth=1.6,
            marker=MARKERS[number] if markers else None, markersize=4, markevery=max(1, -(-len(x) // _MAX_MARKERS)),
        )  # fmt: skip
        if one.low is not None and one.high is not None:
            axes.fill_between(x, one.low, one.high, color=SERIES[number], alpha=0.18, linewidth=0)
    if whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if x_limits:
        axes.set_xlim(*x_limits)
    if y_limits:
        axes.set_ylim(*y_limits)
    _name_ends(axes, series)
    return to_svg(figure, description)


def intervals(
    estimates: Sequence[Estimate],
    *,
    description: str,
    x_label: str,
    reference: float | None = None,
    reference_name: str = "",
    limits: tuple[float, float] | None = None,
    percent: bool = False,
) -> Chart:
    """Draw values with their intervals, one group below the other.

    Args:
        estimates: From top to bottom.
        description: See ``to_svg``.
        x_label: Name and unit of the values.
        reference: Where a dashed line is drawn, such as the value of all groups; None = none.
        reference_name: What it is.
        limits: Ends of the axis; None = those of the intervals.
        percent: The values are fractions, and shown as percentages.
    """
    figure, axes = new_axes(height=80 + 24 * len(estimates), x_label=x_label)
    places = np.arange(len(estimates))
    values = np.array([one.value for one in estimates])
    ends = np.array([(one.low, one.high) for one in estimates]).reshape(-1, 2)
    axes.errorbar(
        values, places, xerr=np.abs(ends.T - values), fmt="o", color=SERIES[0], markersize=5, capsize=3, linewidth=1.4
    )
    if reference is not None:
        axes.axvline(reference, color=MUTED, linestyle="--", linewidth=1)
        axes.set_title(f"dashed: {reference_name}" if reference_name else "", loc="left", color=MUTED, fontsize=FONT)
    _name_rows(axes, [one.name for one in estimates])
    _note_rows(axes, [one.note for one in estimates])
    if limits:
        axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if percent:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    return to_svg(figure, description)


def bars(names: Sequence[str], values: Sequence[float], *, description: str, x_label: str) -> Chart:
    """Draw horizontal bars with their numbers.

    Args:
        names: From top to bottom.
        values: One for each name, 0 or more.
        description: See ``to_svg``.
        x_label: Name and unit of the values.
    """
    figure, axes = new_axes(height=60 + 24 * len(names), x_label=x_label)
    axes.barh(np.arange(len(names)), values, color=SERIES[0], height=0.65)
    _name_rows(axes, names)
    _note_rows(axes, [f"{value:,.4g}" if value < 1000 else f"{value:,.0f}" for value in values])
    axes.set_xlim(0, max([*values, 1e-9]) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    return to_svg(figure, description)


def histogram(
    groups: Sequence[tuple[str, Sequence[float] | Floats]],
    edges: Sequence[float] | Floats,
    *,
    description: str,
    x_label: str,
    y_label: str = "images",
    log_x: bool = False,
) -> Chart:
    """Draw histograms of one to three groups over the same bins.

    Args:
        groups: Each name with its values; those beyond the edges are counted in the bins at the ends.
        edges: Of the bins, ascending.
        description: See ``to_svg``.
        x_label: Name and unit of the values.
        y_label: What is counted.
        log_x: Draw the horizontal axis logarithmically.
    """
    figure, axes = new_axes(x_label=x_label, y_label=y_label)
    edges = np.asarray(edges, float)
    for number, (name, values) in enumerate(groups):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        axes.stairs(counts, edges, color=SERIES[number], fill=True, alpha=0.18, linewidth=0)
        axes.stairs(counts, edges, color=SERIES[number], linestyle=LINE_STYLES[number], linewidth=1.6, label=name)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if log_x:
        axes.set_xscale("log")
        _mark_logarithmic(axes.xaxis)
    _legend(axes, len(groups))
    return to_svg(figure, description)


def scatter(
    groups: Sequence[Series],
    *,
    description: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
) -> Chart:
    """Draw points of one to six groups, each with its marker.

    Args:
        groups: Named points.
        description: See ``to_svg``.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        log_y: Draw the vertical axis logarithmically.
    """
    figure, axes = new_axes(x_label=x_label, y_label=y_label)
    for number, group in enumerate(groups):
        axes.plot(
            group.x, group.y, linestyle="none", marker=MARKERS[number], markersize=3.5, markeredgewidth=0.4,
            color=SERIES[number], markeredgecolor=PAPER, alpha=0.75, label=group.name,
        )  # fmt: skip
    if log_y:
        axes.set_yscale("log")
        _mark_logarithmic(axes.yaxis)
    _legend(axes, len(groups))
    return to_svg(figure, description)


def heat_map(
    values: npt.NDArray[np.float64],
    *,
    description: str,
    x_label: str = "",
    y_label: str = "",
    extent: tuple[float, float, float, float] = (0, 1, 1, 0),
    point: tuple[float, float] | None = None,
    scale_label: str = "",
    percent: bool = False,
    equal: bool = False,
) -> Chart:
    """Draw a map whose cells are the darker (on a dark page: the brighter) the larger their value.

    Args:
        values: (rows, columns), finite; the first row is at the top where ``extent`` is as it stands. Where all are
            equal, the map is empty and has no scale.
        description: See ``to_svg``.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        extent: Left, right, bottom and top end of the axes.
        point: Where a cross is drawn, such as the chosen value; None = none.
        scale_label: What the values are, beside the scale.
        percent: The values are fractions, and the scale shows percentages.
        equal: Draw both axes to the same scale.
    """
    figure, axes = new_axes(height=HEIGHT + 60 if equal else HEIGHT + 20, x_label=x_label, y_label=y_label)
    axes.grid(visible=False)
    low, high = float(values.min()), float(values.max())
    # Of equal values nothing is drawn: sums in another order may differ in their last digits.
    is_flat = high - low < _FLAT
    levels = np.zeros(values.shape, int) if is_flat else np.ceil((values - low) / (high - low) * _LEVELS).astype(int)
    left, right, bottom, top = extent
    x = np.linspace(left, right, values.shape[1] + 1)
    y = np.linspace(top, bottom, values.shape[0] + 1)
    for level in range(1, _LEVELS + 1):
        rows, columns = np.nonzero(levels == level)
        _fill_cells(axes, x, y, rows, columns, level / _LEVELS)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    if equal:
        axes.set_aspect(1)
    if point is not None:
        axes.plot(*point, marker="+", markersize=14, markeredgewidth=2.5, color=INK)
    if not is_flat:
        _draw_scale(figure, axes, low, high, scale_label, percent=percent)
    return to_svg(figure, description)


def _fill_cells(
    axes: Axes, x: Floats, y: Floats, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], opacity: float
) -> None:
    """Fill cells in one shade, as one path: neighbors in a row are one rectangle."""
    vertices: list[tuple[float, float]] = []
    for row, group in itertools.groupby(range(len(rows)), key=lambda i: rows[i]):
        cells = columns[list(group)]
        for run in np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1):
            a, b, c, d = x[run[0]], x[run[-1] + 1], y[row], y[row + 1]
            vertices += [(a, c), (b, c), (b, d), (a, d), (a, c)]
    if vertices:
        codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(vertices) // 5)
        axes.add_patch(PathPatch(Path(vertices, codes), facecolor=SERIES[0], alpha=opacity, linewidth=0))


def _draw_scale(figure: Figure, axes: Axes, low: float, high: float, label: str, *, percent: bool) -> None:
    """Draw the shades of a heat map with the values that they stand for."""
    scale = figure.add_axes(axes.inset_axes((1.04, 0, 0.05, 1)))
    step = (high - low) / _LEVELS
    for level in range(1, _LEVELS + 1):
        scale.axhspan(low + (level - 1) * step, low + level * step, color=SERIES[0], alpha=level / _LEVELS, linewidth=0)
    scale.set_ylim(low, low + _LEVELS * step)
    scale.set_xticks([])
    scale.yaxis.tick_right()
    scale.yaxis.set_major_locator(MaxNLocator(4))
    scale.tick_params(length=0, labelsize=FONT, labelcolor=INK)
    if percent:
        scale.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    scale.yaxis.set_label_position("right")
    scale.set_ylabel(label, color=MUTED, fontsize=FONT)
    for spine in scale.spines.values():
        spine.set_color(LINE)


def _name_ends(axes: Axes, series: Sequence[Series]) -> None:
    """Write each line's name beside its last point, moved apart where several end at the same height."""
    figure = axes.get_figure()
    assert figure is not None
    height = axes.get_window_extent().height * 72 / figure.dpi
    gap = (FONT + 2) / height
    ends = []
    for number, one in enumerate(series):
        finite = np.flatnonzero(np.isfinite(np.asarray(one.y, float)))
        if len(finite):
            # A line that leaves the axes has its name where it is last seen.
            x = _limit(float(one.x[finite[-1]]), axes.get_xlim())
            y = _limit(float(one.y[finite[-1]]), axes.get_ylim())
            ends.append((axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1], number, x, y))
    ends.sort()
    places = _spread([_limit(end[0], (0, 1)) for end in ends], gap)
    for (_, number, x, y), place in zip(ends, places, strict=True):
        axes.annotate(
            series[number].name, xy=(x, y), xycoords="data", xytext=(1.04, place), textcoords="axes fraction",
            va="center", fontsize=FONT, color=SERIES[number], annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LINE, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2},
        )  # fmt: skip


def _mark_logarithmic(axis: Axis) -> None:
    """Label decades, and values between them where there are few."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    parts = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.5 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=parts))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))


def _limit(value: float, ends: tuple[float, float]) -> float:
    return min(max(value, min(ends)), max(ends))


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights moved apart to ``gap`` or more, around where they were."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + gap) if places else height)
    shift = (sum(places) - sum(heights)) / max(len(heights), 1)
    places = [place - shift for place in places]
    over = max(places[-1] - 1.0, 0.0) if places else 0.0
    return [place - over for place in places]


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(names)), [name if len(name) <= 28 else f"{name[:27]}…" for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _note_rows(axes: Axes, notes: Sequence[str]) -> None:
    for place, note in enumerate(notes):
        axes.text(1.02, place, note, transform=axes.get_yaxis_transform(), va="center", fontsize=FONT - 1, color=MUTED)


def _legend(axes: Axes, groups: int) -> None:
    if groups > 1:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=FONT, labelcolor=INK,
            borderaxespad=0, handlelength=2.2, columnspacing=1.2,
        )  # fmt: skip
