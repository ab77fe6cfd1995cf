"""Masks at the network's size, and in full."""

import cv2
import numpy as np
import pytest
from loading_data import CASES, ROW, write_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.geometry import letterbox
from pneumo.loading.masks import rasterize_mask, read_mask, read_runs
from pneumo.loading.warp import warp
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


@pytest.mark.parametrize("read", [read_mask, read_runs])
def test_damaged_run_lengths_are_named(data, tmp_path, read):
    texts = [rle.encode(mask) for mask in data.masks]
    texts[ROW["square"]] = "5 10 99999999 3"
    reader = write_dataset(tmp_path / "d", data.files, texts)
    with pytest.raises(UserError, match=r"image id-square in .*: the mask has .*expected run lengths that fit"):
        read(reader, ROW["square"])


def test_runs_are_those_of_the_file(data):
    row = ROW["square"]
    (gap, length), *others = read_runs(data.reader, row).tolist()
    flat = data.masks[row].T.ravel()
    assert others
    assert not flat[:gap].any()
    assert flat[gap : gap + length].all()
    assert length + sum(length for _, length in others) == flat.sum()


@pytest.mark.parametrize(("x", "y"), [(40, 60), (41, 60), (40, 61), (41, 61)])
@pytest.mark.parametrize("size", [128, 64])
def test_halfway_between_pixels_a_lesion_is_sampled_as_the_whole_mask_would_be(tmp_path, data, x, y, size):
    mask = np.zeros((256, 256), np.uint8)
    mask[y : y + 51, x : x + 37] = np.random.default_rng(0).random((51, 37)) < 0.5
    texts = [rle.encode(other) for other in data.masks]
    texts[ROW["square"]] = rle.encode(mask)
    reader = write_dataset(tmp_path / "d", data.files, texts)
    matrix, out, whole = letterbox(256, 256, size).matrix, *np.zeros((2, size, size), np.uint8)
    rasterize_mask(reader, ROW["square"], matrix, out)
    warp(mask, matrix, whole, cv2.INTER_NEAREST)
    assert np.array_equal(out, whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_lesion_anywhere_is_sampled_at_the_nearest_pixel(tmp_path, data, dtype):
    """At an edge, in a corner, cut off by the view or outside of it; against coordinates in double precision."""
    rng, compared, shown = np.random.default_rng(2), 0, 0
    for index in range(60):
        mask = np.zeros((256, 256), np.uint8)
        height, width = rng.integers(1, 120, 2)
        y, x = rng.integers(-20, 230, 2)
        mask[max(y, 0) : y + height, max(x, 0) : x + width] = 1
        mask &= rng.random(mask.shape) < 0.9
        if not mask.any():
            continue
        texts = [rle.encode(other) for other in data.masks]
        texts[ROW["square"]] = rle.encode(mask)
        reader = write_dataset(tmp_path / f"{index}", data.files, texts)
        size = (96, 128, 300)[index % 3]
        moved = Affine(translate=0.5, scale=0.5, rotate_deg=180).draw(rng, size)
        matrix = letterbox(256, 256, size).matrix @ moved
        out = np.zeros((size, size), dtype)
        rasterize_mask(reader, ROW["square"], matrix, out)
        places = np.einsum("ij,jyx->iyx", matrix, np.stack([*np.mgrid[:size, :size][::-1], np.ones((size, size))]))
        column, row = np.floor(places + 0.5).astype(int)
        inside = (row >= 0) & (row < 256) & (column >= 0) & (column < 256)
        expected = np.where(inside, mask[row.clip(0, 255), column.clip(0, 255)], 0)
        # OpenCV 4 rounds coordinates to 1/1024 of a pixel, OpenCV 5 to those of float32.
        sure = (np.abs(places - np.floor(places) - 0.5) > 4e-3).all(axis=0)
        if expected.any():
            assert np.array_equal(out[sure], expected[sure])
            compared += 1
            shown += int(expected.sum())
    assert compared > 40
    assert shown > 10_000
