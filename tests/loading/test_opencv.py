"""The OpenCV loader on its own."""

import dataclasses

import pytest
import torch
from loading_data import ALL, EVERYTHING, plan

from pneumo.dataset.shard_reader import ShardReader
from pneumo.runtime.errors import UserError


def test_image_of_another_size_than_the_table_says_is_named(data):
    reader = ShardReader(data.reader.dataset, dataclasses.replace(data.table, rows=data.table.rows + 1))
    loader = data.opencv()
    loader.reader = reader
    with pytest.raises(UserError, match=r"id-square .* has the shape \(256, 256\); expected .*\(257, 256\)"):
        list(loader([plan([0], 300)]))


@pytest.mark.gpu
def test_opencv_loader_gives_the_same_on_the_gpu(data):
    loader = data.opencv()
    expected = list(loader([plan(ALL, 96, EVERYTHING)]))
    loader.device = torch.device("cuda")
    (batch,) = loader([plan(ALL, 96, EVERYTHING)])
    assert batch.image.is_cuda
    assert torch.equal(batch.image.cpu(), expected[0].image)
    assert torch.equal(batch.mask.cpu(), expected[0].mask)
