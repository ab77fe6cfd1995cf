"""Places in a cache: each large enough, none overlapping, known from the table alone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from loading_data import ALL, CASES, ROW

from pneumo.loading.cache_layout import ALIGNMENT, CacheLayout
from pneumo.loading.images import read_reduced


@pytest.mark.parametrize("size", [64, 96, 300])
def test_each_place_has_the_image_and_the_run_lengths_and_none_overlaps(data, size):
    layout = CacheLayout.of(data.table, np.array(ALL), size)
    ends = []
    for row in ALL:
        first, shape, kind = layout.image(row)
        pixels = read_reduced(data.reader, row, int(layout.factors[row]))
        assert (pixels.shape, pixels.dtype) == (shape, np.dtype(kind))
        assert first % ALIGNMENT == 0
        start, size_of_text = layout.run_lengths(row)
        assert start == first + pixels.nbytes
        ends.append((first, start + (size_of_text if CASES[row].positive else 0)))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert 0 <= layout.bytes - ends[-1][1] < ALIGNMENT
    assert layout.bytes == layout.wanted_bytes


def test_as_many_as_fit_have_a_place(data):
    whole = CacheLayout.of(data.table, np.array(ALL), 96)
    for limit, kept in ((0, 0), (whole.bytes - 1, len(ALL) - 1), (whole.bytes, len(ALL))):
        layout = CacheLayout.of(data.table, np.array(ALL), 96, limit)
        assert len(layout) == kept
        assert layout.bytes <= limit
        assert layout.wanted_bytes == whole.bytes
    assert len(CacheLayout.of(data.table, np.array([], np.int64), 96)) == 0


def test_a_row_that_was_not_asked_for_has_no_place(data):
    layout = CacheLayout.of(data.table, np.array([3, 1]), 96)
    assert [row for row in ALL if layout.has(row, int(layout.factors[row]))] == [1, 3]
    assert layout.image(3)[0] == 0
    assert not layout.has(3, 8)


def test_another_size_is_served_when_all_images_are_downsampled_alike(data):
    layout = CacheLayout.of(data.table, np.array(ALL), 96)
    assert layout.serves(data.table, 97)
    assert not layout.serves(data.table, 64)
    assert layout.factors[ROW["large"]] == 8


def test_a_fold_with_pseudo_labels_keeps_the_images_of_the_others(data):
    layout = CacheLayout.of(data.table, np.array(ALL), 96)
    assert layout.serves(replace(data.table, positive=~data.table.positive), 96)
    assert not layout.serves(data.table.take(np.array(ALL)), 96)
