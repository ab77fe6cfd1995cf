"""Pages: every string is escaped, nothing is fetched, and only the command's own pages are replaced."""

import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from pneumo.reporting.html import charts, page, pictures
from pneumo.reporting.html.page import (
    Column,
    Details,
    Facts,
    Figure,
    Figures,
    Heading,
    Notice,
    Page,
    Points,
    Prose,
    Section,
    Table,
)
from pneumo.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "<script>alert(1)</script>\"'&"
VOID = {"meta", "link", "img", "br"}


class Tags(HTMLParser):
    """The start tags of a page with their attributes; every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def make_page(text: str = "a text") -> Page:
    """A page with every kind of block, each with the text."""
    chart = charts.bars([text], [3], description=text, x_label=text[:30])
    series = charts.Series(name=text[:30], x=[0, 1], y=[0, 1])
    curves = charts.lines([series], description=text, x_label=text[:30], y_label=text[:30])
    picture = pictures.draw(np.zeros((8, 8), np.float32), text, truth=np.ones((8, 8), np.uint8))
    blocks = [
        Prose(paragraphs=[text]),
        Heading(title=text),
        Points(items=[text]),
        Points(items=[text], ordered=True),
        Facts(items=[(1234, text)]),
        Notice(kind="Warning", text=text),
        Table(caption=text, columns=[Column(title=text), Column(title=text, numeric=True)], rows=[[text, 1234567]]),
        Figures(items=[Figure(content=chart, caption=text), Figure(content=picture, caption=text)]),
        Figures(items=[Figure(content=curves, caption=""), Figure(content=chart, caption="")], size="large"),
        Details(summary=text, blocks=[Prose(paragraphs=[text])]),
    ]
    return Page(
        generator="pneumo test",
        title=text,
        lead=text,
        sections=[Section(title="All blocks", blocks=blocks), Section(title="Another: 2nd", blocks=[])],
        footer=[text],
        notices=[Notice(kind="Note", text=text)],
    )


def test_every_string_is_escaped() -> None:
    hostile = page.render(make_page(HOSTILE))
    plain = Tags(page.render(make_page()))
    assert "<script" not in hostile
    found = Tags(hostile)
    assert [tag for tag, _ in found.found] == [tag for tag, _ in plain.found]
    assert {attributes["alt"] for attributes in found.attributes("img")} == {HOSTILE}
    assert {attributes.get("aria-label", HOSTILE) for attributes in found.attributes("svg")} == {HOSTILE}


def test_markup_is_kept_and_its_values_are_escaped() -> None:
    prose = Markup("See {}, <em>{}</em>.").format(page.link("the paper", "https://doi.org/10/a?b=1&c"), HOSTILE)
    text = page.render(replace(make_page(), lead=prose))
    assert '<a href="https://doi.org/10/a?b=1&amp;c" rel="noreferrer">the paper</a>, <em>&lt;script' in text


def test_nothing_is_fetched_or_run() -> None:
    tags = Tags(page.render(make_page()))
    (policy,) = [a["content"] for a in tags.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in tags.found}
    addresses = [
        a for _, attributes in tags.found for name, a in attributes.items() if name in ("src", "href", "xlink:href")
    ]
    assert len(addresses) > 5
    assert {re.match(r"data:|#", address or "") is not None for address in addresses} == {True}


def test_sections_have_anchors_in_the_contents() -> None:
    tags = Tags(page.render(make_page()))
    links = [a["href"] for a in tags.attributes("a")]
    assert links == ["#content", "#all-blocks", "#another-2nd"]
    assert [a["id"] for a in tags.attributes("section")] == ["all-blocks", "another-2nd"]


def test_two_sections_of_one_anchor_are_a_bug() -> None:
    twice = replace(make_page(), sections=[Section(title="A b", blocks=[]), Section(title="a B", blocks=[])])
    with pytest.raises(AssertionError, match="the same anchor"):
        page.render(twice)


def test_ids_are_unique_though_a_chart_is_there_twice() -> None:
    tags = Tags(page.render(make_page()))
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert any(str(one).startswith("c") for one in ids)


def test_numbers_are_grouped_and_aligned() -> None:
    text = page.render(make_page())
    assert '<td class="number">1,234,567</td>' in text
    assert "<dd>1,234</dd>" in text


def test_a_row_of_another_length_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="another length"):
        Table(caption="", columns=[Column(title="a")], rows=[["1", "2"]])


def test_the_same_page_gives_the_same_bytes(tmp_path: Path) -> None:
    page.write(tmp_path / "a.html", make_page())
    page._environment.cache_clear()
    page.write(tmp_path / "b.html", make_page())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_only_an_earlier_page_of_the_same_command_is_replaced(tmp_path: Path) -> None:
    own, other, text, empty = (tmp_path / name for name in ("own.html", "other.html", "text.html", "empty.html"))
    page.write(own, make_page())
    page.write(other, replace(make_page(), generator="pneumo other"))
    text.write_text("<html>my notes on pneumo test</html>")
    empty.touch()
    for accepted in (own, empty, tmp_path / "missing.html"):
        page.check_earlier("--out", accepted, "pneumo test")
    for refused in (other, text):
        with pytest.raises(
            UserError, match=r"--out would replace .*, which is no earlier result of this command; "
        ) as e:
            page.check_earlier("--out", refused, "pneumo test")
        assert e.value.expected == "a new file, or a page of pneumo test"
    with pytest.raises(UserError, match="Is a directory"):
        page.check_earlier("--out", tmp_path, "pneumo test")


def test_a_page_says_what_it_was_made_of(tmp_path: Path) -> None:
    own, without, text = (tmp_path / name for name in ("own.html", "without.html", "text.html"))
    page.write(own, replace(make_page(), source="abc"))
    page.write(without, make_page())
    text.write_bytes(b"<html>\xff")
    assert page.read_source(own) == "abc"
    assert {page.read_source(path) for path in (without, text, tmp_path / "missing.html", tmp_path)} == {""}


def test_the_template_and_the_style_sheet_are_in_the_wheel() -> None:
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {
        path
        for package, patterns in package_data.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    templates = set((ROOT / "pneumo/reporting/html/templates").iterdir())
    assert {path.name for path in templates} == {"page.css", "page.html.jinja"}
    assert templates <= installed
