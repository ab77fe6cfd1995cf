"""Which held-out images are drawn, the same ones at each validation, and how large their pictures are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference.prediction import PredictedBatch
from pneumo.masks import rle
from pneumo.reporting.held_out_images import SIDE, HeldOutImages, choose
from pneumo.reporting.overlays import CAPTION_ROWS, PREDICTION, TRUTH


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


def rows_of(reader: ShardReader, *, positive: int, negative: int) -> np.ndarray:
    table = reader.table
    rows = table.select("train")
    return np.sort(np.r_[rows[table.positive[rows]][:positive], rows[~table.positive[rows]][:negative]])


def test_lesions_of_three_sizes_and_a_negative_are_chosen(reader: ShardReader) -> None:
    table, rows = reader.table, rows_of(reader, positive=11, negative=3)
    chosen = choose(table, rows)
    assert list(chosen) == ["large", "medium", "small", "negative"]
    areas = sorted(table.mask_area[rows[table.positive[rows]]].tolist())
    # The largest but one; then the middle and the smallest but one of those that are left.
    assert [int(table.mask_area[row]) for row in chosen.values()] == [areas[9], areas[4], areas[1], 0]
    assert choose(table, rows[::-1].copy())["negative"] != chosen["negative"]


def test_a_lesion_is_large_by_its_share_of_the_image(reader: ShardReader) -> None:
    rows = rows_of(reader, positive=3, negative=0)
    table = reader.table
    area, side = table.mask_area.copy(), table.rows.copy()
    # 1 % of 1000 x 1000, 10 % of 200 x 200 and 5 % of 400 x 400: in pixels it is the other way round.
    area[rows], side[rows] = [10_000, 4_000, 8_000], [1000, 200, 400]
    chosen = choose(replace(table, mask_area=area, rows=side, columns=side.copy()), rows)
    # The largest; then the smallest of the two that are left, halfway between them; then the last one.
    assert [rows.tolist().index(row) for row in chosen.values()] == [1, 0, 2]


@pytest.mark.parametrize(
    ("positive", "negative", "names"),
    [(2, 1, ["large", "medium", "negative"]), (1, 0, ["large"]), (0, 5, ["negative"]), (0, 0, [])],
)
def test_no_image_is_chosen_twice(reader: ShardReader, positive: int, negative: int, names: list[str]) -> None:
    chosen = choose(reader.table, rows_of(reader, positive=positive, negative=negative))
    assert list(chosen) == names
    assert len(set(chosen.values())) == len(names)


def predicted(row: int, probability: np.ndarray) -> PredictedBatch:
    """Return the prediction of one image, whose source has the size of the network's input."""
    return PredictedBatch(
        rows=(row,),
        shapes=(probability.shape,),
        maps=(torch.from_numpy(probability)[None],),
        presence=torch.tensor([0.5]),
        finite=torch.tensor(True),
    )


def test_what_is_kept_is_small_and_taken_once(reader: ShardReader) -> None:
    rows = rows_of(reader, positive=3, negative=1)
    images = HeldOutImages(reader, rows)
    for row in reader.table.select("train").tolist():
        batch = predicted(row, np.full((64, 64), 7 / 256, np.float32))
        images.observe(replace(batch, shapes=((2000, 1000),)))
    kept = images.take()
    assert kept.keys() == set(images.chosen.values())
    assert {bins.shape for bins in kept.values()} == {(SIDE, SIDE // 2)}
    assert images.take() == {}


def test_both_outlines_are_drawn_with_the_dice(reader: ShardReader) -> None:
    images = HeldOutImages(reader, rows_of(reader, positive=3, negative=1))
    for row in images.chosen.values():
        # The true mask, two pixels to the side, by a probability of just 0.5.
        mask = np.roll(rle.decode(reader.rle(row), *reader.table.shape(row)), 2, axis=1)
        images.observe(predicted(row, mask * np.float32(0.5)))
    drawn = images.draw(images.take())
    for name in ("large", "medium", "small"):
        picture = drawn[name]
        assert picture.shape == (SIDE + CAPTION_ROWS, SIDE, 3)
        for color in (TRUTH, PREDICTION):
            assert (np.abs(picture[CAPTION_ROWS:].astype(int) - color).max(axis=2) < 30).sum() > 20
    assert not (np.abs(drawn["negative"].astype(int) - PREDICTION).max(axis=2) < 30).any()


@pytest.mark.parametrize(
    ("name", "value", "caption"),
    [
        ("large", 127, "Dice 0.00 at probability 0.5"),
        ("negative", 127, "no pneumothorax, 0.0% outlined"),
        ("negative", 128, "no pneumothorax, 100.0% outlined"),
    ],
)
def test_the_caption_says_how_much_is_right(reader: ShardReader, name: str, value: int, caption: str) -> None:
    images = HeldOutImages(reader, rows_of(reader, positive=3, negative=1))
    row = images.chosen[name]
    assert images._panel(row, np.full((8, 8), value, np.uint8)).caption == caption
