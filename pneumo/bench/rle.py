"""Run lengths, and the loops that came with the competition.

Kaggle's encoder visits the pixels one by one in Python; its decoder slices a flat array once for each run.
"""

from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.scaling import growth
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import Work, time_in_turns
from pneumo.masks import rle

Mask = npt.NDArray[np.uint8]

AREAS = {"median": 8630, "p95": 45642}
"""Pixels of a pneumothorax among the competition's positives, in images of 1024 x 1024."""
DECODE_ROUNDS = 10
"""Rounds of decoding for each of encoding: it takes about a millisecond, which other load easily doubles."""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Encode and decode a mask of the median and one of the 95th percentile's size."""
    comparisons = []
    for name, area in AREAS.items():
        mask = crescent(settings.source_size, area)
        text = rle.encode(mask)
        assert loop_encode(mask) == text
        assert np.array_equal(loop_decode(text, *mask.shape), rle.decode(text, *mask.shape))
        pixels = f"{settings.source_size}x{settings.source_size}, {int(mask.sum()):,} pixels of mask ({name})"
        encoders = partial(rle.encode, mask), partial(loop_encode, mask)
        decoders = partial(rle.decode, text, *mask.shape), partial(loop_decode, text, *mask.shape)
        comparisons += [
            _compare(f"encode {pixels}", settings.repeat, *encoders),
            _compare(f"decode {pixels}", settings.repeat * DECODE_ROUNDS, *decoders),
        ]
    return comparisons + _measure_growth(settings)


def _measure_growth(settings: Settings) -> list[Comparison]:
    """Encode and decode the same mask with ten times as many pixels, too."""
    masks = [crescent(size, AREAS["median"]) for size in (settings.source_size, round(settings.source_size * 10**0.5))]
    texts = [rle.encode(mask) for mask in masks]
    works: list[Work] = [
        *(partial(rle.encode, mask) for mask in masks),
        *(partial(rle.decode, text, *mask.shape) for text, mask in zip(texts, masks, strict=True)),
    ]
    seconds, sizes = time_in_turns(works, settings.repeat * DECODE_ROUNDS), [mask.size // 1000 for mask in masks]
    return [
        growth("rle", what, "kilopixel", sizes, seconds[first : first + 2])
        for what, first in (("encode", 0), ("decode", 2))
    ]


def crescent(size: int, area: int) -> Mask:
    """Draw an apical crescent (size, size), 1 inside, of ``area`` pixels when scaled to 1024 x 1024."""
    # One ellipse without an equal one that is moved to the side and down; the factor was found by trying.
    radius = float(np.sqrt(area * (size / 1024) ** 2)) * 1.238
    mask = np.zeros((size, size), np.uint8)
    x, y = size // 3, size // 2
    axes = (round(radius / 1.3), round(radius * 1.3))
    cv2.ellipse(mask, (x, y), axes, 0, 0, 360, 1, -1)
    inner = (x + round(radius * 0.18), y + round(radius * 0.3))
    cv2.ellipse(mask, inner, axes, 0, 0, 360, 0, -1)
    return mask


def loop_encode(mask: Mask) -> str:
    """Encode as Kaggle's script does: column by column, pixel by pixel, a pair at the end of each run.

    Like the script it leaves out a run that reaches the last pixel.
    """
    rows, columns = mask.shape
    words: list[str] = []
    inside, pixel, start, end = False, 0, 0, 0
    for x in range(columns):
        for y in range(rows):
            if mask[y, x] and not inside:
                start, inside = pixel, True
            elif inside and not mask[y, x]:
                words += [str(start - end), str(pixel - start)]
                end, inside = pixel, False
            pixel += 1
    return " ".join(words) or rle.EMPTY


def loop_decode(text: str, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Decode as Kaggle's script does: into one float array, a slice for each run; (rows, columns)."""
    flat = np.zeros(rows * columns)
    numbers = np.asarray([int(word) for word in text.split()])
    position = 0
    for gap, length in zip(numbers[0::2], numbers[1::2], strict=True):
        position += gap
        flat[position : position + length] = 1
        position += length
    return flat.reshape(columns, rows).T


def _compare(what: str, rounds: int, ours: Work, theirs: Work) -> Comparison:
    seconds = time_in_turns([ours, theirs], rounds)
    return per_item("rle", what, "Kaggle's loop", "ms", ours=seconds[0], theirs=seconds[1], scale=1000)
