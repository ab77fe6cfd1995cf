"""The section on images that are there twice, with the pairs side by side."""

from markupsafe import Markup

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.explore import hashing
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.duplicates import MAX_PAIRS, Pair
from pneumo.reporting.explore.lesion_sections import xray
from pneumo.reporting.html.page import Block, Cell, Column, Figure, Figures, Heading, Prose, Section, Table

MAX_SHOWN = 6
"""Pairs that are shown as pictures."""
MAX_LISTED = 100
"""Pairs in the table."""


def duplicates(analysis: Analysis, reader: ShardReader) -> Section:
    """Return the section on duplicates."""
    limit = analysis.duplicates.limit
    text = (
        f"Images whose perceptual hash of {hashing.BITS} bits differs in {limit} bits or fewer show the same X-ray: at "
        "another size or compression, with another contrast, slightly turned, or inverted. Mirrored and cropped copies "
        f"are not found. The limit is {hashing.MAX_LIMIT} bits, or lower in a dataset whose images are all alike, as "
        "synthetic ones are; different X-rays of SIIM-ACR, also those of one patient, differ in 55 bits or more."
    )
    pairs = sorted(
        analysis.duplicates.pairs, key=lambda pair: (-_weight(pair), pair.kind != "equal bytes", pair.distance)
    )
    blocks: list[Block] = [Prose(paragraphs=[text])]
    if not pairs:
        return Section(title="Duplicates", blocks=[*blocks, Prose(paragraphs=["No two images are alike."])])
    blocks += [_summary(analysis), _table(analysis, pairs), Heading(title="Pairs"), _pictures(analysis, reader, pairs)]
    return Section(title="Duplicates", blocks=blocks)


def _weight(pair: Pair) -> int:
    """Return how much a pair matters: of different labels first."""
    return 4 * pair.across_labels + 2 * pair.across_folds + pair.across_splits


def _summary(analysis: Analysis) -> Table:
    pairs = analysis.duplicates.pairs
    rows: list[list[Cell]] = [
        ["equal bytes", sum(pair.kind == "equal bytes" for pair in pairs)],
        ["similar", sum(pair.kind == "similar" for pair in pairs)],
        ["inverted copy", sum(pair.kind == "inverted copy" for pair in pairs)],
        ["of one patient", sum(pair.same_patient for pair in pairs)],
        ["with and without a pneumothorax", sum(pair.across_labels for pair in pairs)],
        ["in two folds", sum(pair.across_folds for pair in pairs)],
        ["a training and a test image", sum(pair.across_splits for pair in pairs)],
    ]
    if copies := sum(pair.of_unlabeled for pair in pairs):
        rows.append(["an unlabeled image and another one", copies])
    more = f" The search ended after {MAX_PAIRS:,} pairs." if len(pairs) == MAX_PAIRS else ""
    caption = f"Pairs of duplicates. Each further copy of the same bytes is a pair with the first one.{more}"
    return Table(caption=caption, columns=[Column(title="Pairs"), Column(title="Number", numeric=True)], rows=rows)


def _table(analysis: Analysis, pairs: list[Pair]) -> Table:
    rows: list[list[Cell]] = [
        [
            Markup("<code>{}</code>").format(analysis.table.image_id[pair.first]),
            Markup("<code>{}</code>").format(analysis.table.image_id[pair.second]),
            pair.kind,
            pair.distance,
            f"{_place(analysis, pair.first)} / {_place(analysis, pair.second)}",
            "same" if pair.same_patient else "other or unknown",
        ]
        for pair in pairs[:MAX_LISTED]
    ]
    shown = f" The first {MAX_LISTED} of {len(pairs):,}." if len(pairs) > MAX_LISTED else ""
    titles = ("Image", "Copy", "How", "Bits", "Where", "Patient")
    return Table(
        caption=f"The pairs, those that matter most first.{shown}",
        columns=[Column(title=title, numeric=title == "Bits") for title in titles],
        rows=rows,
    )


def _place(analysis: Analysis, row: int) -> str:
    table = analysis.table
    if table.split[row] != "train":
        return str(table.split[row])
    return f"fold {table.fold[row]}, {'positive' if table.positive[row] else 'negative'}"


def _pictures(analysis: Analysis, reader: ShardReader, pairs: list[Pair]) -> Figures:
    """Return the first pairs, each image beside its copy."""
    damaged = set(analysis.damaged.tolist())
    readable = [pair for pair in pairs if not {pair.first, pair.second} & damaged][:MAX_SHOWN]
    items: list[Figure] = []
    for number, pair in enumerate(readable, 1):
        for row, which in ((pair.first, "image"), (pair.second, pair.kind)):
            caption = Markup("Pair {}, {}: {}<br><code>{}</code>").format(
                number, which, _place(analysis, row), analysis.table.image_id[row]
            )
            items.append(xray(analysis, reader, row, caption=caption))
    return Figures(items=items, size="pairs")
