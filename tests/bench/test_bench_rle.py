"""Kaggle's loops give the masks that pneumo's run lengths give."""

import numpy as np
import pytest

from pneumo.bench.rle import crescent, loop_decode, loop_encode
from pneumo.masks import rle


@pytest.mark.parametrize("area", [600, 8630, 45642])
def test_loops_give_the_same_masks(area):
    mask = crescent(128, area)
    assert mask.sum() == pytest.approx(area / 64, rel=0.15, abs=8)
    text = rle.encode(mask)
    assert loop_encode(mask) == text
    assert np.array_equal(loop_decode(text, *mask.shape), mask)
    assert loop_encode(np.zeros((3, 2), np.uint8)) == "-1"
