"""Masks at the network's size, and in full."""

import cv2
import numpy as np
import pytest
from loading_data import CASES, ROW, write_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.geometry import letterbox
from pneumo.loading.masks import rasterize_mask, read_mask, warp
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

UNIT = letterbox(256, 256, 256).matrix
FLIPPED = UNIT @ np.array([[-1.0, 0, 255], [0, 1, 0], [0, 0, 1]])


def test_mask_is_read_in_full(data):
    for row, case in enumerate(CASES):
        if case.split == "train":
            assert np.array_equal(read_mask(data.reader, row), data.masks[row])


@pytest.mark.parametrize(("matrix", "turn"), [(UNIT, 1), (FLIPPED, -1)], ids=["unit", "flip"])
def test_mask_of_the_network_size_is_drawn_to_the_pixel(data, matrix, turn):
    out = np.zeros((256, 256), np.uint8)
    rasterize_mask(data.reader, ROW["square"], matrix, out)
    assert np.array_equal(out, data.masks[ROW["square"]][:, ::turn])


def test_mask_of_another_shape_is_letterboxed_and_stays_binary(data):
    row = ROW["upright"]
    out = np.zeros((100, 100), np.uint8)
    rasterize_mask(data.reader, row, letterbox(200, 120, 100).matrix, out)
    assert set(np.unique(out)) == {0, 1}
    assert not out[:, :20].any()
    assert not out[:, 80:].any()
    assert out.sum() == pytest.approx(data.masks[row].sum() / 4, rel=0.05)


@pytest.mark.parametrize("name", ["empty", "unlabeled"])
def test_empty_masks_are_not_read(data, monkeypatch, name):
    monkeypatch.setattr(ShardReader, "rle", lambda *_: pytest.fail("run lengths were read"))
    out = np.zeros((64, 64), np.uint8)
    rasterize_mask(data.reader, ROW[name], letterbox(256, 256, 64).matrix, out)
    assert not out.any()


def test_a_lesion_between_the_sampled_pixels_is_marked_and_one_outside_of_the_view_is_not(tmp_path, data):
    """At a sixteenth of the size the centers of the network's pixels are at 7.5, 23.5 ... of the source."""
    mask = np.zeros((256, 256), np.uint8)
    mask[33:36, 145:149] = 1
    texts = [rle.encode(other) for other in data.masks]
    texts[ROW["square"]] = rle.encode(mask)
    reader = write_dataset(tmp_path / "d", data.files, texts)
    small, out = letterbox(256, 256, 16).matrix, np.zeros((16, 16), np.uint8)
    warp(mask, small, out, cv2.INTER_NEAREST)
    assert not out.any()
    rasterize_mask(reader, ROW["square"], small, out)
    assert np.argwhere(out).tolist() == [[2, 9]]
    # Moved by half the image: the lesion is cut off, and there is nothing to see.
    moved = small + np.array([[0, 0, 0], [0, 0, 128]])
    out[:] = 0
    rasterize_mask(reader, ROW["square"], moved, out)
    assert not out.any()


@pytest.mark.parametrize(
    ("rows", "columns", "moved", "marked"),
    [
        ((1, 4), (145, 149), 0, [[0, 9]]),
        ((33, 36), (145, 149), 40, []),  # less than a pixel above the view
        ((33, 36), (159, 163), 0, [[2, 10]]),  # a column belongs to the ninth pixel, three to the tenth
        ((33, 36), (157, 161), 0, [[2, 9]]),
        ((239, 243), (145, 149), 0, [[15, 9]]),
    ],
)
def test_the_pixel_with_most_of_a_small_lesion_is_marked(tmp_path, data, rows, columns, moved, marked):
    mask = np.zeros((256, 256), np.uint8)
    mask[slice(*rows), slice(*columns)] = 1
    texts = [rle.encode(other) for other in data.masks]
    texts[ROW["square"]] = rle.encode(mask)
    reader = write_dataset(tmp_path / "d", data.files, texts)
    matrix = letterbox(256, 256, 16).matrix + np.array([[0, 0, 0], [0, 0, moved]])
    out = np.zeros((16, 16), np.uint8)
    warp(mask, matrix, out, cv2.INTER_NEAREST)
    assert not out.any()
    rasterize_mask(reader, ROW["square"], matrix, out)
    assert np.argwhere(out).tolist() == marked


def test_damaged_run_lengths_are_named(data, tmp_path):
    texts = [rle.encode(mask) for mask in data.masks]
    texts[ROW["square"]] = "5 10 99999999 3"
    reader = write_dataset(tmp_path / "d", data.files, texts)
    with pytest.raises(UserError, match=r"image id-square in .*: the mask has .*expected run lengths that fit"):
        read_mask(reader, ROW["square"])


def test_warp_interpolates_and_is_black_outside_of_the_source():
    source = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    out = np.full((2, 4), 9, np.float32)
    warp(source, np.array([[0.5, 0, 0], [0, 1, 0]]), out, cv2.INTER_LINEAR)
    assert out.tolist() == [[0, 0.5, 1, 0.5], [0, 0.5, 1, 0.5]]


def test_warp_keeps_the_type():
    with pytest.raises(AssertionError):
        warp(np.zeros((2, 2), np.uint8), np.eye(2, 3), np.zeros((2, 2), np.float32), cv2.INTER_NEAREST)
