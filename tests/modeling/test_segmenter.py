"""Normalization inside the network, and the sizes that it takes."""

import pytest
import segmentation_models_pytorch as smp
import torch
from tiny_models import TINY, image, make, packaged_mobilenet

from pneumo.modeling.models import IMAGENET_MEAN, IMAGENET_STD
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


def test_sizes_off_the_grid_are_refused():
    with pytest.raises(UserError, match=r"100x64 pixels.*multiple of 32.*choose 96"):
        make()(torch.rand(1, 1, 100, 64))
