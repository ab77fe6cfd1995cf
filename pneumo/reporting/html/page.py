"""A self-contained HTML page: sections of prose, tables, figures and notices, published as one file.

A page is data until ``render``: the template escapes every string, so that no text of a file, such as an image's id,
becomes markup. Inline markup in prose is made with ``markupsafe.Markup("Text with {}").format(value)``, which escapes
the values, and with ``link``. The page has no script, and its Content-Security-Policy forbids every request.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

import jinja2
from markupsafe import Markup

from pneumo.reporting.html.chart import Chart
from pneumo.reporting.html.pictures import XrayPicture
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text

Text = str | Markup
"""Text of a page; a plain string is escaped."""
Cell = Text | int
"""Content of a table's cell; an int is shown with thousands separators."""

_HEAD_BYTES = 4096
"""Where a page says what made it: within its first bytes."""


@dataclass(frozen=True, kw_only=True)
class Prose:
    """Paragraphs."""

    template: ClassVar = "prose"
    paragraphs: Sequence[Text]


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading within a section."""

    template: ClassVar = "heading"
    title: Text


@dataclass(frozen=True, kw_only=True)
class Points:
    """A list."""

    template: ClassVar = "points"
    items: Sequence[Text]
    ordered: bool = False
    """Numbered, as references are."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The few numbers that matter most, large."""

    template: ClassVar = "facts"
    items: Sequence[tuple[Cell, Text]]
    """Each value with what it is."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that must not be overlooked; its kind is written out, since a color is not seen by everyone."""

    template: ClassVar = "notice"
    kind: Literal["Note", "Warning", "Good"]
    text: Text


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    title: Text
    numeric: bool = False
    """Aligned to the right."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; one that is wider than the screen scrolls by itself."""

    template: ClassVar = "table"
    caption: Text
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    """Cells in the order of ``columns``; the first one names its row."""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), "a row has another length than the columns"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart or a picture with its caption."""

    content: Chart | XrayPicture
    caption: Text


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures side by side, as many as fit."""

    template: ClassVar = "figures"
    items: Sequence[Figure]
    size: Literal["small", "pairs", "medium", "large"] = "medium"
    """small: pictures of a contact sheet; pairs: two of them in a row; medium: charts; large: one in a row."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """Blocks that are folded away until they are asked for; open in print."""

    template: ClassVar = "details"
    summary: Text
    blocks: Sequence["Block"]


Block = Prose | Heading | Points | Facts | Notice | Table | Figures | Details


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section with an entry in the contents."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Return the fragment that leads here, such as ``learning-curves``."""
        return anchor_of(self.title)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page."""

    generator: str
    """What makes such pages, such as ``pneumo explore``: only a page of the same one is replaced."""
    title: str
    lead: Text
    """What the page shows and of what, in a sentence or two."""
    sections: Sequence[Section]
    footer: Sequence[Text]
    """Versions, digests, the date."""
    notices: Sequence[Notice] = ()
    """Notices above the contents."""
    source: str = ""
    """What the page was made of, such as a digest, for ``read_source``."""


def anchor_of(title: str) -> str:
    """Return the fragment that leads to the section of a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def link(text: str, url: str) -> Markup:
    """Return a link; nothing is fetched before it is followed."""
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(url, text)


def render(page: Page) -> str:
    """Return the page's HTML; the same page gives the same text."""
    anchors = [section.anchor for section in page.sections]
    assert len(set(anchors)) == len(anchors), "two sections have the same anchor"
    numbers: Iterator[int] = itertools.count(1)
    return _environment().get_template("page.html.jinja").render(page=page, next_number=lambda: next(numbers))


def write(path: Path, page: Page) -> None:
    """Publish the page as a file, which replaces an earlier one in one step."""
    publish_text(path, render(page))


def check_earlier(flag: str, path: Path, generator: str) -> None:
    """Refuse to replace a file that is not an earlier page of the same command: a slip of the path would destroy it.

    Args:
        flag: Flag of the output, for the message.
        path: The page that the command writes; one that is missing or empty is no fault.
        generator: ``Page.generator`` of the command's pages.

    Raises:
        UserError: When the file is something else, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", "a file that can be read", f"give another {flag}") from None
    if head and _mark(generator).encode() not in head:
        raise UserError(
            f"{flag} would replace {path}, which is no earlier result of this command",
            f"a new file, or a page of {generator}",
            f"give another {flag}, or move the file",
        )


def read_source(path: Path) -> str:
    """Return the ``Page.source`` of a page on disk; an empty text for whatever else is there, or nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    found = re.search(rb'<meta name="pneumo-source" content="([^"]*)">', head)
    return found[1].decode(errors="replace") if found else ""


def _mark(generator: str) -> str:
    return f'<meta name="generator" content="{generator}">'


def _format_cell(cell: Cell) -> Text:
    return f"{cell:,}" if isinstance(cell, int) else cell


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pneumo.reporting.html", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _format_cell
    return environment
