"""The sections on the lesions, and the contact sheets of images with and without one."""

import math
from collections import Counter

import numpy as np
from markupsafe import Markup

from pneumo.dataset.bands import UNKNOWN
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.loading.images import read_image
from pneumo.loading.masks import read_mask
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.groups import ATTRIBUTES, merge_small
from pneumo.reporting.explore.lesions import CELLS, RARE, UNUSUAL, area_cm2, place_map, unusual_shares
from pneumo.reporting.html import charts, pictures
from pneumo.reporting.html.page import Block, Cell, Column, Figure, Figures, Heading, Prose, Section, Table, Text
from pneumo.reporting.html.words import percent
from pneumo.runtime.errors import counted

SMALL = 0.005
"""Share of an image below which a mask is called small on the page: 5,243 of 1024 x 1024 pixels."""
LARGE = 640
"""Pixels of the longer side of the example."""
MAX_POINTS = 1500
"""Points of a scatter; more are a blot and a large file."""
DETECTOR = (
    "Where a file has the detector's spacing alone, the area is that on the detector, larger than in the patient."
)
MAX_VIEWS = 6
"""Groups of points of a scatter; the views with the fewest images are one."""
MAX_UNUSUAL = 8
"""Pictures of masks in unusual places."""


def lesions(analysis: Analysis, reader: ShardReader) -> Section:
    """Return the section on number, size and place of the lesions."""
    title = "Lesions"
    if not len(analysis.measured):
        return Section(title=title, blocks=[Prose(paragraphs=["No image of the dataset has a mask."])])
    areas = np.array([one.area for one in analysis.lesions])
    figures = [_sizes(areas), _numbers(analysis), _places(analysis), *_size_by_spacing(analysis)]
    low, median, high = np.quantile(areas, [0.05, 0.5, 0.95])
    text = (
        f"The masks of {counted(len(areas), 'image')}. The median mask covers {percent(median, 2)} of its image; nine "
        f"of ten are between {percent(low, 2)} and {percent(high, 2)}. "
        f"{counted(int((areas < SMALL).sum()), 'mask covers', 'masks cover')} less than {percent(SMALL)}. A lesion is "
        "a connected region of a mask."
    )
    return Section(
        title=title,
        blocks=[Prose(paragraphs=[text]), Figures(items=figures), _sides(analysis), *_unusual(analysis, reader)],
    )


def _sizes(areas: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Figure:
    shares = 100 * areas
    edges = np.geomspace(max(shares.min(), 1e-4), max(shares.max(), 2 * shares.min(), 2e-4), 25)
    description = f"Histogram of the masks' sizes, from {shares.min():.3g} % to {shares.max():.3g} % of the image"
    chart = charts.histogram(
        [("masks", shares)], edges, description=description, x_label="percent of the image (logarithmic)", log_x=True
    )
    return Figure(
        content=chart, caption="Size of the masks. The smallest are the hardest to find, and cost as much when missed."
    )


def _numbers(analysis: Analysis) -> Figure:
    found = Counter(min(len(one.areas), 5) for one in analysis.lesions)
    names = ["1", "2", "3", "4", "5 or more"]
    numbers = [found[count] for count in range(1, 6)]
    described = ", ".join(f"{name}: {number}" for name, number in zip(names, numbers, strict=True))
    chart = charts.bars(names, numbers, description=f"Images by their number of lesions: {described}", x_label="images")
    return Figure(content=chart, caption="Lesions in an image.")


def _places(analysis: Analysis) -> Figure:
    places = place_map(analysis.lesions)
    row, column = np.unravel_index(int(places.argmax()), places.shape)
    description = (
        f"Heat map of the lesions' places over the image: the most at {(column + 0.5) / CELLS:.2f} of the width from "
        f"the left and {(row + 0.5) / CELLS:.2f} of the height from the top, {percent(float(places.max()))} of the "
        "images"
    )
    chart = charts.heat_map(
        places, description=description, x_label="from the left edge", y_label="from the top edge",
        scale_label="share of positive images", percent=True, equal=True,
    )  # fmt: skip
    caption = "Where the lesions are. The left of the picture is the patient's right, on AP and PA views alike."
    return Figure(content=chart, caption=caption)


def _size_by_spacing(analysis: Analysis) -> list[Figure]:
    rows = analysis.measured
    table = analysis.table
    area, spacing, unit = area_cm2(table, rows), table.row_spacing_mm[rows], "cm²"
    if not np.isfinite(area).any():
        # Spacings that are wrong still tell machines apart.
        share = 100 * table.mask_area[rows] / (table.rows[rows] * table.columns[rows])
        area, unit = np.where(spacing > 0, share, np.nan), "% of the image"
    known = np.flatnonzero(np.isfinite(area))
    if len(np.unique(spacing[known].round(3))) < 2:
        return []
    sample = ""
    if len(known) > MAX_POINTS:
        known = np.sort(np.random.default_rng(0).choice(known, MAX_POINTS, replace=False))
        sample = f" A sample of {MAX_POINTS:,}."
    area, spacing = area[known], spacing[known]
    views = merge_small(ATTRIBUTES["View"](table)[rows[known]], MAX_VIEWS)
    groups = [
        charts.Series(name="view unknown" if name == UNKNOWN else name, x=spacing[views == name], y=area[views == name])
        for name in sorted(set(views.tolist()))
    ]
    chart = charts.scatter(
        groups,
        description=f"Area of {len(known)} masks by pixel spacing, {area.min():.2g} to {area.max():.3g} {unit}",
        x_label="pixel spacing in mm",
        y_label=f"area in {unit}",
        log_y=True,
    )
    reason = f"a coarser grid shows the same lesion with fewer pixels. {DETECTOR}"
    caption = f"Size against spacing: {reason if unit == 'cm²' else 'the share of the image.'}{sample}"
    return [Figure(content=chart, caption=caption)]


def _sides(analysis: Analysis) -> Table:
    sides = Counter(one.side for one in analysis.lesions)
    centers = [y for one in analysis.lesions for _, y in one.centers]
    numbers = {
        "left of the picture only": sides["left"],
        "right of the picture only": sides["right"],
        "both sides": sides["both"],
        "at the edge of the image": sum(one.at_edge for one in analysis.lesions),
    }
    rows: list[list[Cell]] = [
        [name, number, percent(number / len(analysis.lesions))] for name, number in numbers.items()
    ]
    upper = sum(y < 0.5 for y in centers) / len(centers)
    return Table(
        caption=f"Sides. {percent(upper, 0)} of the lesions have their center in the upper half of the image.",
        columns=[Column(title="Mask"), Column(title="Images", numeric=True), Column(title="Share", numeric=True)],
        rows=rows,
    )


def _unusual(analysis: Analysis, reader: ShardReader) -> list[Block]:
    shares = unusual_shares(analysis.lesions)
    order = np.argsort(-shares, kind="stable")
    chosen = analysis.measured[order[shares[order] > UNUSUAL]][:MAX_UNUSUAL]
    if not len(chosen):
        return []
    text = f"More than half of each of these masks is where at most {percent(RARE)} of all masks reach."
    return [
        Heading(title="Masks in unusual places"),
        Prose(paragraphs=[text]),
        Figures(items=[xray(analysis, reader, row) for row in chosen.tolist()], size="small"),
    ]


def examples(analysis: Analysis, reader: ShardReader) -> list[Block]:
    """Return one positive image without and with its outline; none when there is no positive image."""
    if not len(analysis.measured):
        return []
    areas = np.array([one.area for one in analysis.lesions])
    # Large enough to be seen by everyone, and no extreme.
    row = int(analysis.measured[np.argsort(areas, kind="stable")[int(0.8 * (len(areas) - 1))]])
    plain = xray(
        analysis, reader, row, outlined=False, caption="A positive image of this dataset. Where is the air?", side=LARGE
    )
    shown = xray(analysis, reader, row, caption=f"The same with its mask: {analysis.table.image_id[row]}.", side=LARGE)
    return [Figures(items=[plain, shown])]


def sheets(analysis: Analysis, reader: ShardReader, number: int, seed: int) -> list[Section]:
    """Return the contact sheets of positive and of negative images.

    Args:
        analysis: What is known.
        reader: Reads the images.
        number: Pictures of each.
        seed: Seed of the choice of negative images.
    """
    positives = choose_positives(analysis, number)
    negatives = choose_negatives(analysis, number, seed)
    texts = (
        ("Images with a pneumothorax", positives, "From the smallest mask to the largest, evenly spread."),
        ("Images without a pneumothorax", negatives, f"Drawn at random (seed {seed})."),
    )
    return [
        Section(
            title=title,
            blocks=[
                Prose(paragraphs=[text]),
                Figures(items=[xray(analysis, reader, row) for row in rows.tolist()], size="small"),
            ]
            if len(rows)
            else [Prose(paragraphs=["There is none."])],
        )
        for title, rows, text in texts
    ]


def choose_positives(analysis: Analysis, number: int) -> Rows:
    """Return rows of positive images, from the smallest mask to the largest, evenly spread."""
    areas = np.array([one.area for one in analysis.lesions])
    ranked = analysis.measured[np.argsort(areas, kind="stable")]
    spread = np.linspace(0, len(ranked) - 1, min(number, len(ranked))).round().astype(int)
    chosen: Rows = ranked[spread]
    return chosen


def choose_negatives(analysis: Analysis, number: int, seed: int) -> Rows:
    """Return rows of random labeled images without a mask, in the order of the table."""
    rows = np.setdiff1d(analysis.train[~analysis.table.positive[analysis.train]], analysis.damaged)
    return np.sort(np.random.default_rng(seed).choice(rows, min(number, len(rows)), replace=False))


def xray(
    analysis: Analysis,
    reader: ShardReader,
    row: int,
    *,
    outlined: bool = True,
    caption: Text = "",
    side: int = pictures.SIDE,
) -> Figure:
    """Return an image of the dataset with the outline of its mask, if it has one.

    Args:
        analysis: What is known.
        reader: Reads the image.
        row: Its row.
        outlined: Draw the mask.
        caption: What is below the picture; empty = size, view, sex, age and id.
        side: Pixels of the picture's longer side.
    """
    table = analysis.table
    factor = next(factor for factor in (8, 4, 2, 1) if max(table.shape(row)) // factor >= side or factor == 1)
    mask = read_mask(reader, row) if outlined and table.positive[row] else None
    described = _describe(analysis, row)
    content = pictures.draw(
        read_image(reader, row, factor),
        f"Chest X-ray {table.image_id[row]}: {described}{'; the mask is outlined' if mask is not None else ''}",
        truth=mask,
        side=side,
    )
    return Figure(
        content=content, caption=caption or Markup("{}<br><code>{}</code>").format(described, table.image_id[row])
    )


def _describe(analysis: Analysis, row: int) -> str:
    """Return size of the mask, view, sex and age of an image, as far as they are known."""
    table = analysis.table
    words = []
    found = analysis.scanned[row].lesions
    if found is not None:
        area = float(area_cm2(table, np.array([row]))[0])
        size = percent(found.area, 2) if math.isnan(area) else f"{percent(found.area, 2)}, {area:.3g} cm²"
        words.append(f"{counted(len(found.areas), 'lesion')}, {size}")
    elif table.split[row] == "train":
        words.append("no pneumothorax")
    else:
        words.append(f"{table.split[row]} image")
    age = int(table.age_years[row])
    words += [
        str(table.view[row]),
        {"M": "male", "F": "female"}.get(str(table.sex[row]), ""),
        f"{age} years" if age >= 0 else "",
    ]
    return "; ".join(filter(None, words))
