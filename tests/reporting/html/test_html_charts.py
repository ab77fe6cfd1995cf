"""Charts: what they draw is in the figure's text and shapes, and nothing is told by color alone."""

import re

import numpy as np
import pytest
from chart_shapes import cells, marks, paths

from pneumo.reporting.html import charts
from pneumo.reporting.html.chart import Chart
from pneumo.reporting.html.charts import Estimate, Series
from pneumo.reporting.html.svg import SERIES

X = np.arange(20.0)


def texts(chart: Chart) -> list[str]:
    return re.findall(r">([^<>]+)</text>", chart.svg)


def dashes(chart: Chart) -> list[str]:
    """The dash patterns of the lines, in their order; empty for a solid one."""
    found = re.findall(r'style="fill: none; (?:stroke-dasharray: ([^;]+); )?[^"]*stroke: var\(--series-\d\)', chart.svg)
    return list(found)


def test_lines_differ_in_style_and_marker_and_have_their_names() -> None:
    series = [Series(name=f"fold {i}", x=X, y=X + i) for i in range(len(SERIES))]
    chart = charts.lines(series, description="d", x_label="epoch", y_label="Dice")
    assert len(dashes(chart)) == len(set(dashes(chart))) == len(SERIES)
    markers = set(re.findall(r'<path id="pneumo-id-[^"]*" d="([^"]*)" style="stroke: var\(--series', chart.svg))
    assert len(markers) == len(SERIES)
    assert {"epoch", "Dice", *(one.name for one in series)} <= set(texts(chart))


def test_lines_run_to_the_right_with_x_and_up_with_y() -> None:
    corner = Series(name="corner", x=[0, 1, 1], y=[0, 0, 0.5])
    point = Series(name="point", x=[0.1], y=[0.8])
    chart = charts.lines([corner, point], description="d", x_label="x", y_label="y", x_limits=(0, 1), y_limits=(0, 1))
    (line,) = paths(chart, "series-1")
    assert line == pytest.approx(np.array([[0, 1], [1, 1], [1, 0.5]]), abs=1e-3)
    assert marks(chart, "series-2") == pytest.approx(np.array([[0.1, 0.2]]), abs=1e-3)


def test_more_series_than_can_be_told_apart_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="told apart"):
        charts.lines([Series(name="a", x=X, y=X)] * 7, description="d", x_label="", y_label="")


def test_names_at_one_height_are_moved_apart() -> None:
    chart = charts.lines(
        [Series(name=f"name {i}", x=X, y=X) for i in range(4)], description="d", x_label="x", y_label="y"
    )
    heights = sorted(float(y) for y in re.findall(r' y="([\d.]+)"[^>]*>name \d</text>', chart.svg))
    assert np.diff(heights).min() >= charts.FONT
    assert charts._spread([0.2, 0.5, 0.9], 0.1) == [0.2, 0.5, 0.9]
    assert charts._spread([1.0, 1.0, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])
    assert charts._spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_a_line_of_gaps_alone_is_drawn_without_its_name() -> None:
    empty = Series(name="nothing", x=X, y=np.full(20, np.nan))
    chart = charts.lines([empty, Series(name="all", x=X, y=X)], description="d", x_label="", y_label="")
    assert "all" in texts(chart)
    assert "nothing" not in texts(chart)


def test_a_band_and_limits_are_drawn() -> None:
    series = Series(name="a", x=X, y=X, low=X - 1, high=X + 1)
    chart = charts.lines(
        [series], description="d", x_label="", y_label="", x_limits=(0, 40), y_limits=(-1, 1), markers=False
    )
    assert "fill-opacity: 0.18" in chart.svg
    assert {"40", "\N{MINUS SIGN}1.00"} <= set(texts(chart))
    assert "<use" not in re.sub(r"<use [^>]*stroke: #000000[^>]*>", "", chart.svg)


def test_intervals_have_whiskers_of_their_ends_a_reference_and_notes() -> None:
    estimates = [
        Estimate(name="PA", value=0.2, low=0.1, high=0.4, note="n = 10"),
        Estimate(name="AP", value=0.3, low=0.25, high=0.35),
    ]
    chart = charts.intervals(
        estimates,
        description="d",
        x_label="positive",
        reference=0.22,
        reference_name="all",
        limits=(0, 0.5),
        percent=True,
    )
    assert {"PA", "AP", "n = 10", "dashed: all", "0 %", "50 %"} <= set(texts(chart))
    lengths = [
        abs(float(b) - float(a))
        for a, b in re.findall(r'd="M ([\d.]+) [\d.]+ L ([\d.]+) [\d.]+ " [^>]*stroke: var\(--series-1\)', chart.svg)
    ]
    assert lengths[0] / lengths[1] == pytest.approx(3, rel=0.01)


def test_values_ends_and_the_reference_are_at_their_places() -> None:
    chart = charts.intervals(
        [Estimate(name="a", value=0.25, low=0.1, high=0.5), Estimate(name="b", value=0.9, low=0.8, high=1.0)],
        description="d",
        x_label="x",
        reference=0.75,
        limits=(0, 1),
    )
    ends = paths(chart, "series-1")
    assert [line[:, 0].round(3).tolist() for line in ends] == [[0.1, 0.5], [0.8, 1.0]]
    assert ends[0][0, 1] < ends[1][0, 1], "the first is on top"
    assert marks(chart, "series-1")[-2:, 0] == pytest.approx([0.25, 0.9], abs=1e-3)
    (reference,) = paths(chart, "muted")
    assert reference[:, 0] == pytest.approx([0.75, 0.75], abs=1e-3)


def test_bars_are_as_long_as_their_values_and_say_them() -> None:
    chart = charts.bars(["a", "a very long name of a manufacturer"], [1000, 250.5], description="d", x_label="images")
    assert {"1,000", "250.5", "a very long name of a manuf…"} <= set(texts(chart))
    ends = [
        [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path)]
        for path in re.findall(r'd="([^"]*)"[^>]*fill: var\(--series-1\)', chart.svg)
    ]
    lengths = [max(xs) - min(xs) for xs in ends]
    assert lengths[0] / lengths[1] == pytest.approx(1000 / 250.5, rel=0.01)


def test_histograms_count_values_beyond_the_ends_and_name_the_groups() -> None:
    chart = charts.histogram(
        [("positive", [-5, 1, 1, 99]), ("negative", [2.5])],
        [0, 2, 4, 6],
        description="d",
        x_label="age",
        y_label="images",
    )
    assert {"positive", "negative", "3"} <= set(texts(chart))
    assert charts.histogram([("all", [1.0, 30])], [1, 10, 100], description="d", x_label="", log_x=True).svg.count(
        "100<"
    )


def test_points_have_markers_by_group() -> None:
    groups = [Series(name="PA", x=[1, 2], y=[1, 10]), Series(name="AP", x=[1], y=[100])]
    chart = charts.scatter(groups, description="d", x_label="spacing", y_label="area", log_y=True)
    assert {"PA", "AP", "10", "100"} <= set(texts(chart))
    assert len(re.findall(r"<use [^>]*fill: var\(--series-1\)", chart.svg)) == 3  # two points, and the legend's


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.021, 0.029, {"0.022", "0.028"}),
        (0.02, 0.05, {"0.02", "0.03", "0.05"}),
        (1, 100, {"1", "3", "10", "30", "100"}),
        (1, 1e5, {"10", "1,000"}),
    ],
)
def test_a_logarithmic_axis_has_labels_for_any_range(low: float, high: float, labels: set[str]) -> None:
    group = charts.Series(name="a", x=[0, 1, 2], y=[low, (low * high) ** 0.5, high])
    found = set(texts(charts.scatter([group], description="d", x_label="", y_label="", log_y=True)))
    assert labels <= found


def test_a_heat_map_is_darker_where_the_value_is_larger_and_marks_the_chosen_point() -> None:
    values = np.zeros((4, 5))
    values[1, 2], values[3, 0] = 1.0, 0.5
    chart = charts.heat_map(
        values,
        description="d",
        x_label="right",
        y_label="down",
        point=(0.5, 0.375),
        scale_label="share",
        percent=True,
        equal=True,
    )
    assert {"right", "down", "share"} <= set(texts(chart))
    shapes = re.findall(
        r'<path d="([^"]*)" clip-path="[^"]*" style="fill: var\(--series-1\)(?:; opacity: ([\d.]+)|)', chart.svg
    )
    # The two cells, then the ten shades of the scale.
    assert [(path.count("M"), opacity) for path, opacity in shapes][:2] == [(1, "0.5"), (1, "")]


@pytest.mark.parametrize("difference", [0.0, 1e-12])
def test_a_heat_map_of_equal_values_is_empty_and_has_no_scale(difference: float) -> None:
    flat = charts.heat_map(
        np.array([[0.778, 0.778 + difference]]), description="d", point=(0.5, 0.5), scale_label="Dice"
    )
    assert cells(flat) == []
    assert "Dice" not in flat.svg
    drawn = charts.heat_map(np.array([[0.778, 0.779]]), description="d", scale_label="Dice")
    assert cells(drawn) != []
    assert "Dice" in drawn.svg


@pytest.mark.parametrize(
    ("extent", "point"),
    [
        ((0.0, 1.0, 1.0, 0.0), (0.75, 0.25)),  # an image: y is counted from the top
        ((0.0, 1.0, 0.0, 1.0), (0.75, 0.75)),  # a plane: y is counted from the bottom
        ((10.0, 30.0, -5.0, 5.0), (25.0, 2.5)),
    ],
)
def test_the_first_row_of_a_heat_map_is_at_the_top_whichever_way_its_axis_counts(
    extent: tuple[float, float, float, float], point: tuple[float, float]
) -> None:
    chart = charts.heat_map(np.array([[0.0, 1.0], [0.0, 0.0]]), description="d", extent=extent, point=point)
    assert cells(chart) == [[0.5, 0, 1, 0.5]]
    assert marks(chart, "ink") == pytest.approx(np.array([[0.75, 0.25]]), abs=1e-3)


def test_cells_that_touch_in_a_row_are_one_shape_and_others_stay_apart() -> None:
    values = np.zeros((2, 4))
    values[0, [0, 1, 3]] = values[1, 2] = 1.0
    assert cells(charts.heat_map(values, description="d")) == [
        [0, 0, 0.5, 0.5],
        [0.75, 0, 1, 0.5],
        [0.5, 0.5, 0.75, 1],
    ]
