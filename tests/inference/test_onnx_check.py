import numpy as np
import pytest
import torch
from onnx_networks import SIZE, Exported, make_mean

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference import onnx_check
from pneumo.loading.images import read_image
from pneumo.runtime.errors import UserError


def test_a_graph_agrees_with_its_networks(exported: Exported) -> None:
    assert 0 <= onnx_check.check(exported.path, exported.mean, onnx_check.drawn_images(SIZE)) < 1e-5


@pytest.mark.parametrize("shift", [0.01, float("nan")])
def test_a_network_that_differs_in_one_weight_is_refused(exported: Exported, shift: float) -> None:
    other = make_mean()
    other.load_state_dict(exported.mean.state_dict())
    with torch.no_grad():
        other.networks[0].net.segmentation_head[0].bias += shift
    with pytest.raises(UserError, match=r"differs from torch by up to .* in a probability; expected at most 0.0001"):
        onnx_check.check(exported.path, other, onnx_check.drawn_images(SIZE))


def test_the_images_of_a_dataset_are_as_the_networks_see_them(reader: ShardReader) -> None:
    images = onnx_check.dataset_images(reader, 96)
    rows = reader.table.select("train")
    chosen = rows[[0, 10, 20, 31]]
    assert len(rows) == 32
    expected = np.stack([read_image(reader, row) for row in chosen.tolist()])[:, None]
    np.testing.assert_array_equal(images.numpy(), expected)


def test_drawn_images_are_gray_values_that_repeat() -> None:
    images = onnx_check.drawn_images(64)
    assert images.shape == (onnx_check.IMAGES, 1, 64, 64)
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1
    assert torch.equal(images, onnx_check.drawn_images(64))
