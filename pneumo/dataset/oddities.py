"""What is odd about the samples of a dataset: counted by kind, with the worst or a typical example of each."""

import re
from collections.abc import Iterator

import numpy as np

from pneumo.dataset import field_of_view, unlabeled
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import counted

FLAT, DARK, BRIGHT = 1 / 16, 1 / 4, 3 / 4
"""Of the range from black to white. In 977 images of SIIM-ACR the levels between which 90 % of an image are differ by
.33 or more, the upper one is .50 or more, the lower one .47 or less."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def describe(table: SampleTable) -> list[str]:
    """Return a line for each kind.

    They are: no positive image, unlabeled copies, pictures without content, render notes, masks and pixel spacings that
    do not fit.
    """
    return [*_labels(table), *_copies(table), *_pictures(table), *_notes(table), *_masks(table), *_spacings(table)]


def _labels(table: SampleTable) -> Iterator[str]:
    train = len(table.select("train"))
    if train and not table.positive.any():
        images = counted(train, "training image")
        yield f"none of {images} has a pneumothorax: nothing can be learned; check the masks CSV"


def _copies(table: SampleTable) -> Iterator[str]:
    rows = unlabeled.copies(table)
    if len(rows):
        images = counted(len(rows), "unlabeled image is", "unlabeled images are")
        yield f"{images} a copy of another image, such as {table.image_id[rows[0]]}: never trained on"


def _pictures(table: SampleTable) -> Iterator[str]:
    low, high = table.low_level, table.high_level
    flat = high - low < FLAT
    kinds = (
        ("flat", flat, high - low),
        ("almost black", ~flat & (high < DARK), high),
        ("almost white", ~flat & (low > BRIGHT), -low),
    )
    for name, chosen, badness in kinds:
        rows = np.flatnonzero(chosen)
        if len(rows):
            row = rows[np.argmin(badness[rows])]
            yield (
                f"{counted(len(rows), f'{name} image')}, worst {table.image_id[row]}: 90 % of it is between "
                f"{low[row]:.2f} and {high[row]:.2f} of white"
            )


def _masks(table: SampleTable) -> Iterator[str]:
    rows = np.flatnonzero(table.mask_note != "")
    if len(rows):
        row = rows[np.argmax(table.mask_area[rows])]
        yield (
            f"{len(rows)} of {counted(int(table.positive.sum()), 'mask')} probably not of the image's size, the "
            f"largest {table.image_id[row]}: {table.mask_note[row]}"
        )


def _spacings(table: SampleTable) -> Iterator[str]:
    rows = np.flatnonzero(field_of_view.is_too_small(table))
    if len(rows):
        sides = field_of_view.longer_side_mm(table)[rows] / 10
        yield (
            f"{counted(len(rows), 'image')}, by the pixel spacing {sides.min():.1f} to {sides.max():.1f} cm high, such"
            f" as {table.image_id[rows[0]]}: too small for the chests of adults among them, as of images that were"
            " reduced afterwards; areas in mm2 are left out"
        )


def _notes(table: SampleTable) -> Iterator[str]:
    """Yield a line for each kind of note; notes that differ only in their numbers are of one kind."""
    kinds: dict[str, list[tuple[list[float], int, str]]] = {}
    for row in np.flatnonzero(table.render_notes != "").tolist():
        for note in table.render_notes[row].split("; "):
            numbers = [float(word) for word in _NUMBER.findall(note)]
            kinds.setdefault(_NUMBER.sub("N", note), []).append((numbers, row, note))
    for _, found in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        (_, row, note), (_, last_row, last) = min(found), max(found)
        span = "" if note == last else f", to {last}, such as {table.image_id[last_row]}"
        yield f"{counted(len(found), 'image')}: {note}, such as {table.image_id[row]}{span}"
