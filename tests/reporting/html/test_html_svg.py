"""Inline SVG: the page's colors and fonts, text that stays text, ids that do not collide, the same bytes each time."""

import re

import matplotlib as mpl
from matplotlib.figure import Figure

from pneumo.reporting.html import svg
from pneumo.reporting.html.svg import to_svg


def draw(text: str = "a name") -> Figure:
    figure = Figure(figsize=(4, 2))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=svg.SERIES[1], marker="o")
    axes.set_title(text, color=svg.INK)
    axes.set_xlim(0, 0.5)  # clips the line
    return figure


def test_placeholder_colors_are_variables_of_the_page() -> None:
    text = to_svg(draw(), "d").svg
    assert "stroke: var(--series-2)" in text
    assert "fill: var(--ink)" in text
    assert not re.search(r"#0000[ef]\d", text)


def test_text_stays_text_in_the_font_of_the_page() -> None:
    text = to_svg(draw("$5 & <b>$ of $x$"), "d").svg
    assert ">$5 &amp; &lt;b&gt;$ of $x$</text>" in text
    assert "font-family" not in text


def test_coordinates_are_short_and_numbers_in_text_are_not() -> None:
    text = to_svg(draw("0.13945 mm"), "d").svg
    assert ">0.13945 mm</text>" in text
    assert re.search(r' x="\d+\.\d\d"', text)
    assert not re.search(r"\.\d{3}", re.sub(r">[^<]*<", "><", text))


def test_it_scales_and_has_a_name() -> None:
    chart = to_svg(draw(), 'a "b" <c>')
    name = 'role="img" aria-label="a &#34;b&#34; &lt;c&gt;" viewBox="0 0 288 144"'
    assert chart.svg.startswith(f'<svg class="chart" {name}')
    assert not re.search(r"<svg[^>]* (width|height)=", chart.svg)
    assert chart.svg.endswith("</svg>")


def test_no_style_sheet_date_or_unused_id_is_left() -> None:
    text = to_svg(draw(), "d").svg
    for word in ("<style", "<metadata", "DOCTYPE", "<?xml", 'id="axes_1"'):
        assert word not in text


def test_references_lead_to_ids_of_the_chart_alone() -> None:
    chart = to_svg(draw(), "d")
    found = []
    for number in (1, 2):
        text = chart.markup(number)
        ids = re.findall(r' id="([^"]*)"', text)
        referred = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', text))
        assert len(ids) > 1
        assert len(ids) == len(set(ids))
        assert set(ids) == referred
        found.append(referred)
    assert not found[0] & found[1]


def test_the_same_figure_gives_the_same_text_and_settings_stay() -> None:
    before = dict(mpl.rcParams)
    assert to_svg(draw(), "d") == to_svg(draw(), "d")
    assert dict(mpl.rcParams) == before
