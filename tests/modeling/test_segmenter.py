"""Normalization inside the network, and the sizes that it takes."""

import pytest
import segmentation_models_pytorch as smp
import torch
from tiny_models import TINY, image, make, packaged_mobilenet
from torch import nn

from pneumo.modeling.models import IMAGENET_MEAN, IMAGENET_STD
from pneumo.modeling.segmenter import Segmenter
from pneumo.runtime.errors import UserError


def test_pretrained_encoder_computes_what_it_computes_on_the_rgb_copy():
    model = make(encoder_weights=str(packaged_mobilenet())).eval()
    reference = smp.encoders.get_encoder(TINY, in_channels=3, weights=None).eval()
    reference.load_state_dict(torch.load(packaged_mobilenet(), weights_only=True))
    gray = image(2)
    rgb = gray.expand(-1, 3, -1, -1)
    channels = zip(range(3), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    normalized = torch.stack([(rgb[:, c] - mean) / std for c, mean, std in channels], dim=1)
    with torch.inference_mode():
        expected = reference(normalized)
        found = model.net.encoder((gray - model.mean) / model.std)
    assert len(found) == 6
    for mine, theirs in zip(found, expected, strict=True):
        # The border included, where padding zeros after normalization means another gray in each channel.
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("rows", "columns", "size"), [(100, 64, 96), (64, 100, 64), (15, 15, 32)])
def test_sizes_off_the_grid_are_refused(rows, columns, size):
    with pytest.raises(UserError, match=rf"{rows}x{columns} pixels.*multiple of 32.*choose {size}"):
        Segmenter(nn.Identity(), IMAGENET_MEAN, IMAGENET_STD)(torch.rand(1, 1, rows, columns))


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 3, 32, 32), (1, 0, 32, 32)])
def test_images_that_are_not_gray_are_a_fault_of_the_program(shape):
    with pytest.raises(AssertionError):
        Segmenter(nn.Identity(), IMAGENET_MEAN, IMAGENET_STD)(torch.rand(shape))


def test_the_gray_value_is_normalized_by_each_channels_mean_and_deviation():
    output = Segmenter(nn.Identity(), (0.25, 0.5, 0.75), (0.5, 0.25, 2.0))(torch.full((2, 1, 32, 64), 0.5))
    expected = torch.tensor([0.5, 0.0, -0.125]).view(1, 3, 1, 1).expand(2, 3, 32, 64)
    assert torch.equal(output.logits, expected)
    assert output.presence_logit is None


def test_the_second_output_is_one_presence_logit_an_image():
    class TwoOutputs(nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image[:, :1], image.amax((1, 2, 3))[:, None]

    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    output = Segmenter(TwoOutputs(), (0.0,) * 3, (1.0,) * 3)(images)
    assert torch.equal(output.logits, images)
    assert torch.equal(output.presence_logit, images.amax((1, 2, 3)))
