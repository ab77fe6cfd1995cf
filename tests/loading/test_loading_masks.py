"""Masks at the network's size, and in full."""

import numpy as np
import pytest
from loading_data import CASES, ROW, plan, write_dataset

from pneumo.loading.geometry import letterbox
from pneumo.loading.masks import draw_mask, read_mask
from pneumo.masks import rle
from pneumo.runtime.errors import UserError


def test_mask_is_read_in_full(data):
    for row, case in enumerate(CASES):
        if case.split == "train":
            assert np.array_equal(read_mask(data.reader, row), data.masks[row])


def test_mask_of_the_network_size_is_drawn_to_the_pixel(data):
    out = np.zeros((256, 256), np.uint8)
    draw_mask(data.reader, ROW["square"], letterbox(256, 256, 256).matrix, out)
    assert np.array_equal(out, data.masks[ROW["square"]])


def test_unlabeled_images_have_an_empty_mask(data):
    (batch,) = data.opencv()([plan([ROW["unlabeled"]], 64)])
    assert not batch.mask.any()
    assert batch.image.any()


def test_damaged_run_lengths_are_named(data, tmp_path):
    texts = [rle.encode(mask) for mask in data.masks]
    texts[ROW["square"]] = "5 10 99999999 3"
    reader = write_dataset(tmp_path / "d", data.files, texts)
    with pytest.raises(UserError, match=r"image id-square in .*: the mask has .*expected run lengths that fit"):
        read_mask(reader, ROW["square"])
